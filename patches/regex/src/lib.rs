//! [`regex_lite`] under the name that oci-spec asks for.

pub use regex_lite::*;
