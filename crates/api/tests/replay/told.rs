//! What readers of a state see, as text: the text that was recorded is compared with. The first form prints values of the
//! machine as they are; the second writes each part out, so that a part which is added later changes no old text.

use std::fmt::Write as _;

use base::{Payload, Timestamp};
use workflow::{ChildOutcome, State, TaskState, Waiting};

/// Everything that a reader of the state can see.
fn summary(state: &State) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name}: {value}").unwrap();
    line("status", state.status().as_str().into());
    line("seq", state.seq().to_string());
    line("time", state.time().to_string());
    line("started, ended", format!("{:?} {:?}", state.started_at(), state.ended_at()));
    line("output", format!("{:?}", state.output()));
    line("in flight, waiting", format!("{} {}", state.in_flight(), state.waiting_calls()));
    line("completed, retries", format!("{} {}", state.completed_tasks(), state.retries()));
    line("agent us, busy", format!("{} {:?}", state.agent_us(), state.busy(state.time())));
    line("checkpoint", format!("{:?}", state.last_checkpoint()));
    line("next timer", format!("{:?}", state.next_timer(state.created_at())));
    line("agents", format!("{:?}", state.agents().collect::<Vec<_>>()));
    for (task, plan) in state.tasks().iter().zip(&state.plan().plan().tasks) {
        let times = (task.scheduled_at, task.ended_at);
        line(&plan.id, format!("{:?} {} {times:?} {:?}", task.phase, task.state_text(), task.output));
        for call in &task.calls {
            let to = call.current.as_ref().map(|a| (&a.to, &a.bound, &a.answer));
            let more = (&call.error, &call.waiting, &call.prompt, &call.output, call.ended_at);
            let numbers = (call.attempt, call.retry, &call.tried);
            line("  call", format!("{:?} {numbers:?} {to:?} {more:?}", call.phase));
        }
    }
    for cause in state.causes() {
        line("cause", format!("{cause:?}"));
    }
    for effect in state.outstanding() {
        line("outstanding", format!("{effect:?}"));
    }
    text
}

/// The text beside logs of the first form: every state in full.
pub(crate) fn first(states: &[State]) -> String {
    states.iter().map(|state| format!("== after {}\n{}\n", state.seq(), summary(state))).collect()
}

/// The text beside logs of the second form: the last state in full, of the others a hash of it.
pub(crate) fn second(states: &[State]) -> String {
    let (last, before) = states.split_last().unwrap();
    let mut text = String::new();
    for state in before {
        let hash = Payload::json_text(whole(state)).hash();
        let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "after {}: {hex}", state.seq()).unwrap();
    }
    text + &whole(last)
}

fn at(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".into(), |time| time.micros().to_string())
}

fn body(payload: Option<&Payload>) -> String {
    let Some(payload) = payload else { return "-".into() };
    let text = String::from_utf8_lossy(payload.bytes()).into_owned();
    if payload.is_json() { text } else { format!("{} {text:?}", payload.media_type()) }
}

/// A state, part by part.
fn whole(state: &State) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name}: {value}").unwrap();
    line("status", format!("{} after {} at {}", state.status().as_str(), state.seq(), state.time().micros()));
    line("times", format!("{} {}", at(state.started_at()), at(state.ended_at())));
    line("input", body(Some(state.input())));
    line("output", body(state.output()));
    line("vars", state.vars().map_or_else(|| "-".into(), ToString::to_string));
    line(
        "counters",
        format!(
            "{} in flight, {} waiting, {} completed, {} retries, {} us",
            state.in_flight(),
            state.waiting_calls(),
            state.completed_tasks(),
            state.retries(),
            state.agent_us()
        ),
    );
    let (spent, budget) = (state.spent(), state.budget());
    line("spent", format!("{} {} {}", spent.calls, spent.tokens, spent.money_micros));
    line("budget", format!("{} {} {} {}", budget.calls, budget.tokens, budget.money_micros, budget.depth));
    line("checkpoint, revision", format!("{:?} {}", state.last_checkpoint(), state.revision()));
    line("agents", state.agents().map(|a| &**a).collect::<Vec<_>>().join(" "));
    let mut timers = Vec::new();
    let mut next = state.next_timer(state.created_at());
    while let Some(time) = next {
        timers.push(time.micros().to_string());
        next = state.next_timer(time);
    }
    line("timers", timers.join(" "));
    for index in 0..state.tasks().len() as u32 {
        task(state, index, &mut text);
    }
    for turn in state.turns().iter().skip(1) {
        let error = turn.error.as_ref().map(|e| format!("{} {}", e.0.as_str(), e.1));
        writeln!(
            text,
            "turn {} of {}: {:?} undo {} item {} carry {} output {} error {} from {} to {}",
            turn.number,
            turn.scope.map_or_else(|| "-".into(), |scope| state.task_path(scope)),
            turn.phase,
            turn.undo,
            body(turn.item.as_ref()),
            body(turn.carry.as_ref()),
            body(turn.output.as_ref()),
            error.unwrap_or_else(|| "-".into()),
            turn.started_at.micros(),
            at(turn.ended_at)
        )
        .unwrap();
    }
    for cause in state.causes() {
        let task = cause.call.map(|call| format!("{}/{}", state.task_path(call.task), call.item));
        let (task, agent) = (task.unwrap_or_else(|| "-".into()), cause.agent.as_deref().unwrap_or("-"));
        let what = (cause.class.as_str(), &cause.message);
        writeln!(text, "cause {task} attempt {} {agent}: {} {}", cause.attempt, what.0, what.1).unwrap();
    }
    undone(state, &mut text);
    for reason in state.stuck(usize::MAX) {
        let task = reason.task.map_or_else(|| "-".into(), |(_, path)| path);
        writeln!(text, "waits {task}/{} for {}", reason.item, reason.why.as_str()).unwrap();
    }
    for effect in state.outstanding() {
        // What is done again after a crash, by its name and what it is about.
        let effect = format!("{effect:?}");
        writeln!(text, "outstanding {}", effect.split(" attempt:").next().unwrap()).unwrap();
    }
    text
}

fn task(state: &State, index: u32, text: &mut String) {
    let own: &TaskState = &state.tasks()[index as usize];
    writeln!(
        text,
        "task {}: {:?} {} from {} to {} generation {} output {}",
        state.task_path(index),
        own.phase,
        own.state_text(),
        at(own.scheduled_at),
        at(own.ended_at),
        own.generation(),
        body(own.output.as_ref())
    )
    .unwrap();
    if let Some(name) = own.picked() {
        writeln!(text, "  picked {name}").unwrap();
    }
    if let Some((class, message)) = own.error() {
        writeln!(text, "  error {} {message}", class.as_str()).unwrap();
    }
    if let Some(wait) = own.waiting() {
        writeln!(text, "  {}", waits(wait)).unwrap();
    }
    for call in &own.calls {
        write!(text, "  call {:?} {}.{}", call.phase, call.attempt, call.retry).unwrap();
        if let Some(open) = &call.current {
            let (to, bound) = (&open.to, open.bound.as_ref().map_or("-", |(task, _)| task));
            write!(
                text,
                " {} {} by {}#{} {} bound {bound} answer {}",
                to.agent,
                to.instance,
                to.caller.member,
                to.caller.incarnation,
                to.effect.as_str(),
                body(open.answer.as_ref())
            )
            .unwrap();
        }
        let error = call.error.as_ref().map(|e| format!("{} {}", e.0.as_str(), e.1));
        writeln!(
            text,
            " tried {} error {} waiting {} prompt {} output {} ended {}",
            call.tried.join(","),
            error.as_deref().unwrap_or("-"),
            call.waiting.as_deref().unwrap_or("-"),
            body(call.prompt.as_ref()),
            body(call.output.as_ref()),
            at(call.ended_at)
        )
        .unwrap();
    }
}

fn waits(wait: &Waiting) -> String {
    match wait {
        Waiting::Timer { until } => format!("timer until {}", until.micros()),
        Waiting::Pause { until } => format!("pause until {}", until.micros()),
        Waiting::Event { key, since, taken } => {
            let taken: Vec<&str> = taken.iter().map(|event| &*event.id).collect();
            let key = key.as_deref().unwrap_or("-");
            format!("event with key {key} since {}: {}", since.micros(), taken.join(" "))
        }
        Waiting::Signal { since, payload } => {
            format!("signal since {}: {}", since.micros(), body(payload.as_ref()))
        }
        Waiting::Step { since, granted } => format!("step since {}: {granted}", since.micros()),
        Waiting::Approval(asked) => {
            let decided = asked.decided.as_ref().map(|d| {
                format!("{} by {} {:?} {}", d.verdict.as_str(), d.by, d.comment, body(d.form.as_ref()))
            });
            let decided = decided.unwrap_or_else(|| "-".into());
            format!("approval {:?} step {}: {decided}", asked.title, asked.escalated)
        }
        Waiting::Publish { event, done } => {
            let payload = body(Some(&event.payload));
            format!("publish {} {} {} {payload}: {done}", event.id, event.topic, event.key)
        }
        Waiting::Child { child, version, outcome, .. } => {
            let outcome = match outcome {
                None => "-".into(),
                Some(ChildOutcome::Completed(output)) => body(Some(output)),
                Some(ChildOutcome::Failed { class, message }) => format!("{} {message}", class.as_str()),
            };
            let version = version.as_deref().unwrap_or("-");
            format!("workflow {}@{version} as {}: {outcome}", child.workflow, child.execution)
        }
    }
}

fn undone(state: &State, text: &mut String) {
    let Some(undone) = state.undone() else { return };
    let paths = |tasks: &[u32]| tasks.iter().map(|t| state.task_path(*t)).collect::<Vec<_>>().join(" ");
    writeln!(text, "to undo: {}; unclear: {}", paths(&undone.left), paths(&undone.unclear)).unwrap();
    for (task, failure) in &undone.done {
        let failure = failure.as_ref().map(|f| format!("{} {}", f.0.as_str(), f.1));
        writeln!(text, "undone {}: {}", state.task_path(*task), failure.as_deref().unwrap_or("yes")).unwrap();
    }
}
