//! Compiles the example's .proto file with protox (no protoc needed).
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = "../../dataplane/http/examples";
    println!("cargo:rerun-if-changed={dir}/greeter.proto");
    let descriptors = protox::compile([format!("{dir}/greeter.proto")], [dir])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
