//! Connections over in-memory pipes under paused time, and over real loopback sockets.
