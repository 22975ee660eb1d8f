//! What only concerns the server.
