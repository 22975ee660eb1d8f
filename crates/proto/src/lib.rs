//! Floor 2: code generated from the contracts in `proto/`, nothing else.
//!
//! The contracts' own comments are the documentation; `crates/api` turns messages into domain types.
#![allow(missing_docs, unreachable_pub, clippy::all)]

/// Encoded `FileDescriptorSet` of every contract, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub mod common {
    pub mod v1 {
        tonic::include_proto!("orchestra.common.v1");
    }
}
pub mod event {
    pub mod v1 {
        tonic::include_proto!("orchestra.event.v1");
    }
}
pub mod executor {
    pub mod v1 {
        tonic::include_proto!("orchestra.executor.v1");
    }
    pub mod internal {
        pub mod v1 {
            tonic::include_proto!("orchestra.executor.internal.v1");
        }
    }
}
pub mod log {
    pub mod v1 {
        tonic::include_proto!("orchestra.log.v1");
    }
}
pub mod planner {
    pub mod v1 {
        tonic::include_proto!("orchestra.planner.v1");
    }
    pub mod internal {
        pub mod v1 {
            tonic::include_proto!("orchestra.planner.internal.v1");
        }
    }
}
pub mod registry {
    pub mod v1 {
        tonic::include_proto!("orchestra.registry.v1");
    }
    pub mod internal {
        pub mod v1 {
            tonic::include_proto!("orchestra.registry.internal.v1");
        }
    }
}
