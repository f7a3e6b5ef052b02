//! Values of directives, read as nginx reads them.

pub mod address;
pub mod condition;
pub mod listen;
pub mod number;
pub mod set;
pub mod time;
pub mod upstream;
