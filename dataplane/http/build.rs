//! Compiles the example's .proto file with protox (no protoc needed); the library itself has none.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=examples/greeter.proto");
    let descriptors = protox::compile(["examples/greeter.proto"], ["examples"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
