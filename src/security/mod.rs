//! What takes rights away from the container's process. The order of the calls is `launch::tail`'s.

pub mod caps;
pub mod ids;
pub mod lsm;
