//! Compiles every contract below `proto/` without protoc and keeps the descriptors for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "orchestra/common/v1/common.proto",
    "orchestra/event/v1/event.proto",
    "orchestra/event/v1/topic.proto",
    "orchestra/executor/internal/v1/executor_internal_service.proto",
    "orchestra/executor/v1/budget_service.proto",
    "orchestra/executor/v1/cache_service.proto",
    "orchestra/executor/v1/control_service.proto",
    "orchestra/executor/v1/event_service.proto",
    "orchestra/executor/v1/executor_service.proto",
    "orchestra/executor/v1/session_service.proto",
    "orchestra/executor/v1/hook_service.proto",
    "orchestra/executor/v1/schedule_service.proto",
    "orchestra/executor/v1/status.proto",
    "orchestra/log/v1/log.proto",
    "orchestra/planner/internal/v1/planner_internal_service.proto",
    "orchestra/planner/v1/pattern_service.proto",
    "orchestra/planner/v1/planner_service.proto",
    "orchestra/registry/internal/v1/registry_internal_service.proto",
    "orchestra/registry/v1/registry_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".orchestra.log.v1")
        .bytes(".orchestra.executor.internal.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
