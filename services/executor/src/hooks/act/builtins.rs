//! The built-in functions: the pure halves lie in the crate of hooks, the halves that touch the world here.

use std::path::{Path, PathBuf};

use catalog::Need;
use hooks::{
    Answer, Builtin,
    builtin::{self, Args, FileRules, Offer, at},
};
use serde_json::{Map, Value, json};

use super::{Actions, Done, Failed, Task, command};

/// Largest file that is looked at when the hook sets no limit.
const FILE_BYTES_DEFAULT: u64 = 10 << 20;

type Answered = Result<Answer, Failed>;

impl Actions {
    pub(super) async fn builtin(&self, task: &Task, function: Builtin) -> Result<Done, Failed> {
        let args = Args::read(function, &task.hook.spec.args)?;
        let answer = match function {
            Builtin::SearchCacheLookup => self.search_lookup(task)?,
            Builtin::SearchCacheFill => self.search_fill(task)?,
            Builtin::FileValidation => self.validate_file(task, &args).await?,
            Builtin::Formatter => self.format(task, &args).await?,
            Builtin::SecurityCheck => security_check(task, &args)?,
            Builtin::MemoryUpdate => memory_update(task, &args),
            Builtin::Notify => {
                let url = args.get("url").unwrap_or_default();
                return self.webhooks.post(task, url, &builtin::notice(&task.document)).await;
            }
            Builtin::AssignAgent => self.assign(task, &args),
            Builtin::SessionSave => session_save(task, &args),
            Builtin::SessionRestore => self.session_restore(task).await?,
        };
        Ok(Done { answer, output: String::new() })
    }

    fn search_lookup(&self, task: &Task) -> Answered {
        let (execution, id) = subject(task)?;
        let capability = at(&task.document, "task.capability").and_then(Value::as_str).unwrap_or_default();
        let Some(input) = at(&task.document, "input").filter(|v| !v.is_null()) else {
            return Ok(Answer::allow("the input is not known here: it is too large, or not JSON"));
        };
        let key = builtin::search_key(&task.tenant, capability, input);
        match self.searches.look(execution, id, key) {
            None => Ok(Answer::allow("not found before")),
            Some(output) => {
                let mut answer = Answer::allow("found before");
                answer.set.output = Some(output);
                Ok(answer)
            }
        }
    }

    fn search_fill(&self, task: &Task) -> Answered {
        let (execution, id) = subject(task)?;
        let output = at(&task.document, "task.output").filter(|v| !v.is_null());
        let completed = at(&task.document, "task.status").and_then(Value::as_str) == Some("completed");
        let kept = match output {
            Some(output) if completed => self.searches.fill(execution, id, output.clone()),
            _ => false,
        };
        Ok(Answer::allow(if kept { "kept" } else { "nothing to keep" }))
    }

    async fn validate_file(&self, task: &Task, args: &Args) -> Answered {
        let rules = FileRules {
            bytes_max: args.number("max_bytes")?.unwrap_or(FILE_BYTES_DEFAULT),
            types: args.list("types"),
            format: args.get("format"),
        };
        if let Some(place) = args.get("field") {
            let text = text_at(task, place)?;
            builtin::check_name(&FileRules { types: vec![], ..rules.clone() }, place, text.len() as u64)?;
            builtin::check_content(&rules, place, text.as_bytes())?;
            return Ok(Answer::allow(format!("{place} is well formed")));
        }
        let name = text_at(task, args.get("path").unwrap_or_default())?;
        let path = self.file(name).await?;
        let size = tokio::fs::metadata(&path).await.map_err(|e| format!("{name} cannot be read: {e}"))?.len();
        builtin::check_name(&rules, name, size)?;
        let content = tokio::fs::read(&path).await.map_err(|e| format!("{name} cannot be read: {e}"))?;
        builtin::check_content(&rules, name, &content)?;
        Ok(Answer::allow(format!("{name} is well formed")))
    }

    /// A file below the allowed root: links and `..` are followed first, so they lead nowhere else.
    async fn file(&self, name: &str) -> Result<PathBuf, String> {
        let root = self.options.files_root.as_deref();
        let root = root.ok_or("hooks may not touch files; set hooks.files_root")?;
        let root = tokio::fs::canonicalize(root).await.map_err(|e| format!("hooks.files_root: {e}"))?;
        let path = tokio::fs::canonicalize(root.join(name)).await;
        let path = path.map_err(|e| format!("{name} cannot be read: {e}"))?;
        if !path.starts_with(&root) {
            return Err(format!("{name} lies outside of hooks.files_root"));
        }
        if !tokio::fs::metadata(&path).await.is_ok_and(|m| m.is_file()) {
            return Err(format!("{name} is not a file"));
        }
        Ok(path)
    }

    async fn format(&self, task: &Task, args: &Args) -> Answered {
        if let Some(place) = args.get("field") {
            let language = args.get("language").unwrap_or_default();
            let formatter = self.formatter(language)?;
            let text = text_at(task, place)?;
            let formatted = self.run_formatter(formatter, &[], text.as_bytes().to_vec()).await?;
            let formatted =
                String::from_utf8(formatted).map_err(|_| "the formatter wrote no text".to_owned())?;
            let mut answer = Answer::allow(if formatted == text { "already formatted" } else { "formatted" });
            answer.set.variables.insert("formatted".into(), formatted.into());
            return Ok(answer);
        }
        let name = text_at(task, args.get("path").unwrap_or_default())?;
        let path = self.file(name).await?;
        let found = builtin::extension(name);
        let language = args.get("language").or(found.as_deref()).unwrap_or_default();
        let formatter = self.formatter(language)?;
        let path_text = path.to_str().ok_or_else(|| format!("{name} is not named in UTF-8"))?;
        let before = digest(&path).await;
        self.run_formatter(formatter, &[path_text.to_owned()], Vec::new()).await?;
        let changed = before != digest(&path).await;
        Ok(Answer::allow(format!("{name}: {}", if changed { "formatted" } else { "already formatted" })))
    }

    fn formatter(&self, language: &str) -> Result<&[String], String> {
        let found = self.options.formatters.get(language);
        found.map(Vec::as_slice).ok_or_else(|| {
            let known: Vec<&str> = self.options.formatters.keys().map(String::as_str).collect();
            format!(
                "no formatter is set for {language:?} (hooks.formatters); there are: {}",
                known.join(", ")
            )
        })
    }

    async fn run_formatter(
        &self,
        words: &[String],
        more: &[String],
        input: Vec<u8>,
    ) -> Result<Vec<u8>, Failed> {
        let (program, args) = words.split_first().ok_or_else(|| "the formatter is empty".to_owned())?;
        let args: Vec<String> = args.iter().chain(more).cloned().collect();
        let job = command::Job { program, args: &args, input, dir: &self.options.working_dir, env: vec![] };
        let ended = command::run(job, &self.options.limits).await?;
        match ended.failure() {
            Some(why) => Err(Failed { why, output: String::from_utf8_lossy(&ended.stdout).into_owned() }),
            None => Ok(ended.stdout),
        }
    }

    /// Agents that offer the capability, as the fleet knows them now.
    fn assign(&self, task: &Task, args: &Args) -> Answer {
        let own = at(&task.document, "task.capability").and_then(Value::as_str);
        let capability = args.get("capability").or(own).filter(|c| !c.is_empty());
        let need = Need { capability: capability.map(str::to_owned), ..Need::default() };
        let candidates = self.agents.fleet().matches(&need).candidates;
        let offers: Vec<Offer> = candidates
            .iter()
            .map(|c| Offer { agent: c.agent.id().clone(), cost: c.cost, score: c.agent.score() })
            .collect();
        builtin::assign(&offers, args)
    }

    async fn session_restore(&self, task: &Task) -> Answered {
        let (Some(memory), Some(execution)) = (&self.memory, task.execution) else {
            return Err("sessions are not kept here".to_owned().into());
        };
        let read = memory.read(&task.tenant, execution).await;
        let variables = read.map_err(|fault| fault.to_string())?;
        let mut answer = Answer::allow(format!("{} variables", variables.len()));
        answer.set.variables = variables;
        Ok(answer)
    }
}

fn security_check(task: &Task, args: &Args) -> Answered {
    let place = args.get("field").unwrap_or("input.command");
    let command =
        at(&task.document, place).ok_or_else(|| format!("the document holds nothing at {place}"))?;
    builtin::check_command(command, &args.list("allow"))?;
    Ok(Answer::allow("the command is allowed"))
}

fn memory_update(task: &Task, args: &Args) -> Answer {
    let place = args.get("field").unwrap_or("task");
    let value = at(&task.document, place).cloned().unwrap_or_default();
    let mut answer = Answer::allow("");
    answer.set.variables.insert(args.get("key").unwrap_or_default().to_owned(), value);
    answer
}

fn session_save(task: &Task, args: &Args) -> Answer {
    let key = args.get("key").unwrap_or("last_execution");
    let summary = json!({
        "execution": task.document["execution"],
        "at": task.document["at"],
        "status": at(&task.document, "event.data.status"),
        "output": at(&task.document, "event.data.output"),
    });
    let mut answer = Answer::allow("saved");
    answer.set.variables = Map::from_iter([(key.to_owned(), summary)]);
    answer
}

fn subject(task: &Task) -> Result<(base::ExecutionId, &str), String> {
    let id = at(&task.document, "task.id").and_then(Value::as_str);
    task.execution.zip(id).ok_or_else(|| "this function needs a task: use it before or after one".to_owned())
}

fn text_at<'a>(task: &'a Task, place: &str) -> Result<&'a str, String> {
    at(&task.document, place)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("the document holds no text at {place}"))
}

async fn digest(path: &Path) -> Option<[u8; 32]> {
    tokio::fs::read(path).await.ok().map(|content| blake3::hash(&content).into())
}
