//! `--cfg loom` for this crate alone: tokio takes it for its own.

fn main() {
    println!("cargo::rustc-cfg=loom");
}
