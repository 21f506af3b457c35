//! [`Objects`] in a folder (`file://`), S3 (`s3://`), Azure Blob Storage (`az://`) or Google Cloud Storage (`gs://`).
//!
//! Over the crate `object_store`, which takes credentials from the usual variables (`AWS_*`, `AZURE_*`, `GOOGLE_*`) or
//! from the machine's own identity. Deliberately with one TLS provider, ring, for the whole program.

use std::ffi::OsString;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, parse_url_opts};
use url::Url;

use super::objects::{Objects, ObjectsError};

/// A connection that takes longer than this leads nowhere.
const CONNECT_TIMEOUT: &str = "5s";
/// One request, so the largest snapshot must pass within this time; the caller's deadline is shorter for small ones.
const REQUEST_TIMEOUT: &str = "240s";
/// Variables that name credentials, regions and endpoints begin so.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// What a URL may begin with.
const SCHEMES: [&str; 4] = ["file", "s3", "az", "gs"];

/// Why a URL names no store.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// It cannot be read.
    #[error(
        "`{0}` is no URL: expected file:///FOLDER, s3://BUCKET/PATH, az://CONTAINER/PATH or gs://BUCKET/PATH"
    )]
    Url(String),
    /// Its folder is not there; it is not made, since a file system that is not mounted looks the same.
    #[error("no such folder: {0}")]
    NoFolder(String),
    /// Its client cannot be made.
    #[error("{0}")]
    Client(#[from] Error),
}

/// A URL that names a store, checked for its form only.
pub fn parse(text: &str) -> Result<Url, BucketError> {
    let wrong = || BucketError::Url(text.to_owned());
    let url = Url::parse(text).map_err(|_| wrong())?;
    let place = if url.scheme() == "file" {
        url.host_str().is_none() && url.path().len() > 1
    } else {
        url.host_str().is_some_and(|bucket| !bucket.is_empty())
    };
    let good = SCHEMES.contains(&url.scheme()) && place && url.query().is_none();
    good.then_some(url).ok_or_else(wrong)
}

/// A store of the crate's, below a path of it.
pub struct Bucket {
    url: String,
    store: Box<dyn ObjectStore>,
    /// Of a store in a folder.
    folder: Option<PathBuf>,
}

impl Bucket {
    /// Opens the store that a URL names. Asks no server yet.
    pub fn open(text: &str) -> Result<Self, BucketError> {
        // Those that are no text are nobody's of these.
        let text_only = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::open_with(text, std::env::vars_os().filter_map(text_only))
    }

    /// The same with these for the process's variables.
    fn open_with(
        text: &str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, BucketError> {
        let url = parse(text)?;
        let mut in_folder = None;
        let store: Box<dyn ObjectStore> = if url.scheme() == "file" {
            let folder = url.to_file_path();
            let folder: PathBuf = folder.map_err(|()| BucketError::Url(text.to_owned()))?;
            if !folder.is_dir() {
                return Err(BucketError::NoFolder(folder.display().to_string()));
            }
            in_folder = Some(folder.clone());
            Box::new(LocalFileSystem::new_with_prefix(folder)?)
        } else {
            install_tls();
            let named = |name: &str| VARIABLES.iter().any(|prefix| name.starts_with(prefix));
            let bounds = [
                ("timeout", REQUEST_TIMEOUT),
                ("connect_timeout", CONNECT_TIMEOUT),
            ];
            let bounds = bounds.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let options = variables.filter(|(name, _)| named(name)).chain(bounds);
            let (store, path) = parse_url_opts(&url, options)?;
            Box::new(PrefixStore::new(store, path))
        };
        let url = text.trim_end_matches('/').to_owned();
        Ok(Self {
            url,
            store,
            folder: in_folder,
        })
    }

    /// A folder that is gone (unmounted, most likely) is an error: else it would seem empty, and be made anew elsewhere.
    async fn is_there(&self, operation: &'static str, name: &str) -> Result<(), ObjectsError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let found = tokio::fs::metadata(folder).await;
        let missing = |reason: &dyn std::fmt::Display| {
            let reason = format!("the folder is not there any more ({reason}); is it mounted?");
            self.refusal(operation, name, reason)
        };
        match found {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(missing(&"no folder")),
            Err(error) => Err(missing(&error)),
        }
    }

    fn error(&self, operation: &'static str, name: &str, error: &Error) -> ObjectsError {
        self.refusal(operation, name, error.to_string())
    }

    fn refusal(&self, operation: &'static str, name: &str, reason: String) -> ObjectsError {
        ObjectsError {
            operation,
            name: name.to_owned(),
            store: self.url.clone(),
            reason,
        }
    }
}

/// The TLS library asks for a provider to be chosen once a process.
fn install_tls() {
    // Whoever was first chose the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[async_trait(?Send)]
impl Objects for Bucket {
    fn url(&self) -> &str {
        &self.url
    }

    async fn create(&self, name: &str, pieces: Vec<Bytes>) -> Result<bool, ObjectsError> {
        self.is_there("write", name).await?;
        let payload: PutPayload = pieces.into_iter().collect();
        let path = Path::from(name);
        let put = self.store.put_opts(&path, payload, PutMode::Create.into());
        match put.await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.error("write", name, &error)),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, ObjectsError> {
        self.is_there("read", name).await?;
        let got = async { self.store.get(&Path::from(name)).await?.bytes().await };
        match got.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error("read", name, &error)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, ObjectsError> {
        self.is_there("list", folder).await?;
        let objects = self.store.list(Some(&Path::from(folder)));
        let names = objects.map_ok(|object| object.location.to_string());
        let names: Result<Vec<String>, Error> = names.try_collect().await;
        let mut names = names.map_err(|error| self.error("list", folder, &error))?;
        names.sort();
        Ok(names)
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectsError> {
        self.is_there("delete", name).await?;
        match self.store.delete(&Path::from(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("delete", name, &error)),
        }
    }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests {
    use super::server::Server;
    use super::*;

    #[test]
    fn a_url_must_name_a_place() {
        for good in [
            "file:///var/k",
            "s3://b",
            "s3://b/p",
            "az://c/p",
            "gs://b/p/q",
        ] {
            parse(good).unwrap();
        }
        for bad in [
            "",
            "/var/k",
            "file://k",
            "file:///",
            "http://b/p",
            "s3:///p",
            "gs://b?x=y",
        ] {
            let refused = parse(bad).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{bad}`")), "{refused}");
        }
        let refused = Bucket::open("file:///nowhere/at/all").err().unwrap();
        assert_eq!(refused.to_string(), "no such folder: /nowhere/at/all");
    }

    #[test]
    fn a_bucket_needs_no_server_to_be_opened() {
        for url in ["s3://b/p", "gs://b/p"] {
            assert_eq!(
                Bucket::open(url).map(|bucket| bucket.url).ok().as_deref(),
                Some(url)
            );
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_neither_empty_nor_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("kept");
        std::fs::create_dir(&folder).unwrap();
        let bucket = Bucket::open(&format!("file://{}", folder.display())).unwrap();
        assert!(bucket.create("a", vec![Bytes::new()]).await.unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
        let results = [
            bucket.create("a", vec![Bytes::new()]).await.err(),
            bucket.read("a").await.err(),
            bucket.list("").await.err(),
            bucket.delete("a").await.err(),
        ];
        for refused in results {
            let refused = refused.unwrap().to_string();
            assert!(refused.contains("is it mounted?"), "{refused}");
        }
        assert!(!folder.exists());
    }

    /// What the archive relies on: above all that nothing is written over, which claims are made of.
    async fn keeps_what_was_written_first(bucket: &Bucket) {
        let pieces = |text: &'static str| vec![Bytes::from_static(b"> "), text.into()];
        assert!(bucket.create("a/2", pieces("two")).await.unwrap());
        assert!(bucket.create("a/b/1", pieces("one")).await.unwrap());
        assert!(!bucket.create("a/2", pieces("three")).await.unwrap());
        assert_eq!(bucket.read("a/2").await.unwrap().unwrap(), "> two");
        assert_eq!(bucket.read("a/3").await.unwrap(), None);
        assert_eq!(bucket.list("a/").await.unwrap(), ["a/2", "a/b/1"]);
        assert_eq!(bucket.list("c/").await.unwrap(), [""; 0]);
        bucket.delete("a/2").await.unwrap();
        bucket.delete("a/2").await.unwrap();
        assert_eq!(bucket.list("a/").await.unwrap(), ["a/b/1"]);
    }

    #[tokio::test]
    async fn a_folder_keeps_what_was_written_first() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        keeps_what_was_written_first(&Bucket::open(&url).unwrap()).await;
    }

    /// A client of the server's, with this key.
    fn client(server: &Server, key: &str) -> Bucket {
        let endpoint = format!("http://{}", server.address());
        let variables = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "nowhere-1"),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("OTHERS", "are not looked at"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Bucket::open_with("s3://kept/one/", variables.into_iter()).unwrap()
    }

    #[actix::test]
    async fn a_bucket_keeps_what_was_written_first() {
        let server = Server::start("kept", "me");
        let bucket = client(&server, "me");
        keeps_what_was_written_first(&bucket).await;
        assert_eq!(server.keys(), ["one/a/b/1"], "below the URL's path");
    }

    #[actix::test]
    async fn a_bucket_that_refuses_is_an_error_that_names_it() {
        let server = Server::start("kept", "me");
        let stranger = client(&server, "somebody");
        let results = [
            stranger.create("a", vec![Bytes::new()]).await.err(),
            stranger.read("a").await.err(),
            stranger.list("a/").await.err(),
            stranger.delete("a").await.err(),
        ];
        for refused in results {
            let refused = refused.unwrap().to_string();
            assert!(refused.contains("s3://kept/one"), "{refused}");
            assert!(refused.contains("AccessDenied"), "{refused}");
        }
        assert_eq!(server.keys(), [""; 0]);
    }
}
