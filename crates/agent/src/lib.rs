//! Floor 3: write an agent in a few lines.
//!
//! ```no_run
//! use agent::{Agent, Call, Effect, ServeOptions, Skill};
//! use serde_json::json;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let shout = Skill::new("shout", "Writes a text in capitals")
//!     .input_schema(json!({"type": "object", "required": ["text"]}))
//!     .effect(Effect::Pure)
//!     .handler(|call: Call| async move {
//!         let input = call.input();
//!         call.progress(0.5, "shouting");
//!         Ok(json!({"text": input["text"].as_str().unwrap_or_default().to_uppercase()}))
//!     });
//! Agent::new("shouter", "Shouts").skill(shout).serve(ServeOptions::default()).await?;
//! # Ok(()) }
//! ```
//!
//! The agent speaks A2A 1.0 and 0.3, checks inputs against their schema before a task exists, works on a repeated
//! message id once, tells its effect classes and schemas on its card, drains on SIGTERM, and can register itself.

mod builder;
mod call;
mod call_log;
mod handler;
mod register;
mod serve;

pub use a2a::{
    Usage,
    server::{Answer, Failure},
};
pub use base::Effect;
pub use builder::{Agent, DefinitionError, Skill};
pub use call::{Call, IntoAnswer};
pub use register::Registration;
pub use serve::{Running, ServeError, ServeOptions};
