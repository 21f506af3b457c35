//! The Kubernetes API as an actix-web `App`. Knows nothing of how it is listened to.
