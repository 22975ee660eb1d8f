//! Following live, and going on from a sequence number.

use agent::Effect;
use harness::{Act, Api, TestAgent, follow_sse, follow_websocket};
use serde_json::json;
use testkit::unique_name;

on_both_shapes! {
    a_websocket_tells_everything_and_resumes
    server_sent_events_tell_everything_and_resume
    a_websocket_of_a_workflow_tells_its_executions
}

const ALL: usize = usize::MAX;

async fn a_websocket_tells_everything_and_resumes(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Hold(json!(1))).await;
    let name = unique_name("flow");
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    let id = api.start(&name, &json!({})).await;
    let path = format!("/executions/{id}");
    let begun = follow_websocket(&api, &path, 3).await;
    assert_eq!(begun.messages.len(), 3);
    let followed = tokio::spawn({
        let (api, path) = (api.clone(), path.clone());
        async move { follow_websocket(&api, &path, ALL).await }
    });
    agent.until_asked(1).await;
    agent.release();
    let whole = followed.await.unwrap();
    assert_eq!(whole.close, Some(1000), "{whole:?}");
    assert_eq!(whole.messages[..3], begun.messages[..]);
    assert!(whole.kinds().contains(&"task.completed"), "{:?}", whole.kinds());
    assert!(whole.seqs().is_sorted());
    for message in &whole.messages {
        assert_eq!(message["execution_id"], id.as_str(), "{message}");
    }
    let after = whole.seqs()[1];
    let rest = follow_websocket(&api, &format!("{path}?after={after}"), ALL).await;
    let wanted: Vec<u64> = whole.seqs().into_iter().filter(|seq| *seq > after).collect();
    assert_eq!(rest.seqs(), wanted);
}

async fn server_sent_events_tell_everything_and_resume(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Answer(json!(1))).await;
    let name = unique_name("flow");
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    let id = api.start(&name, &json!({})).await;
    let path = format!("/executions/{id}/events");
    let whole = follow_sse(&api, &path, None, ALL).await;
    assert!(whole.kinds().contains(&"task.completed"), "{:?}", whole.kinds());
    let seqs = whole.seqs();
    assert_eq!(seqs.first(), Some(&1));
    let after = seqs[seqs.len() / 2];
    let wanted: Vec<u64> = seqs.iter().copied().filter(|seq| *seq > after).collect();
    assert_eq!(follow_sse(&api, &path, Some(after), ALL).await.seqs(), wanted, "Last-Event-ID");
    let asked = follow_sse(&api, &format!("{path}?after={after}"), None, ALL).await;
    assert_eq!(asked.seqs(), wanted, "?after=");
}

async fn a_websocket_of_a_workflow_tells_its_executions(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Hold(json!(1))).await;
    let name = unique_name("flow");
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    let first = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;
    let followed = tokio::spawn({
        let (api, path) = (api.clone(), format!("/workflows/{name}"));
        async move { follow_websocket(&api, &path, 10).await }
    });
    // From now on: begun once the stream is open, which only shows by what it tells.
    let told = async {
        loop {
            api.start(&name, &json!({})).await;
            if followed.is_finished() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        followed.await.unwrap()
    };
    let told = tokio::time::timeout(harness::PATIENCE, told).await.expect("the stream tells something");
    assert!(told.messages[0]["execution_id"].as_str().is_some(), "{told:?}");
    assert!(told.messages.iter().any(|m| m["cursor"].is_string()), "where to go on from: {told:?}");
    agent.release();
    api.ended(&first).await;
}
