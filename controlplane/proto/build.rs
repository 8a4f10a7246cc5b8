//! Compiles the .proto files with protox (no protoc needed) into tonic clients and servers.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "agent",
        "pod",
        "linkstate",
        "authority",
        "operator",
        "edge",
        "scheduling",
    ]
    .map(|name| format!("proto/dmsc/v1/{name}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
