//! The integration tests of tare.
