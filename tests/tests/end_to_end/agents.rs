//! Agents: registering, listing, draining.

use agent::Effect;
use harness::{Act, Api, PATIENCE, TestAgent};
use serde_json::json;
use testkit::{unique_name, wait_for};

on_both_shapes! {
    an_agent_is_found_by_its_capability
    a_deleted_agent_drains_before_it_is_gone
    lists_are_filtered_and_paged_without_gaps
}

async fn an_agent_is_found_by_its_capability(api: Api) {
    let agent = TestAgent::several(&api, 3, Effect::Pure, |_| Act::Answer(json!(1))).await;
    let skill = &agent.capability;
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/agents?capability={skill}&page_size=2&page_token={token}");
        let page = api.get(&path).await.expect(200);
        let items = page["agents"].as_array().unwrap_or_else(|| panic!("{page}"));
        found.extend(items.iter().map(|a| a["id"].as_str().unwrap().to_owned()));
        match page["next_page_token"].as_str().or(page["nextPageToken"].as_str()) {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => break,
        }
    }
    let mut wanted = agent.ids.clone();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

async fn a_deleted_agent_drains_before_it_is_gone(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Hold(json!("done"))).await;
    let (name, id) = (unique_name("flow"), &agent.ids[0]);
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    let running = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;
    api.delete(&format!("/agents/{id}")).await.expect(202);
    assert_eq!(api.get(&format!("/agents/{id}")).await.expect(200)["state"], "draining");
    // No new call goes there, and nobody else has the capability: as soon as the executor has heard of it, a start is
    // refused as if there had never been an agent.
    wait_for("a start to be refused", PATIENCE, async || {
        let late = api.post(&format!("/workflows/{name}/execute"), &json!({"input": {}})).await;
        if let Some(early) = late.body["execution_id"].as_str() {
            api.post(&format!("/executions/{early}/terminate"), &json!({})).await.expect(200);
            return None;
        }
        late.problem(507, "insufficient_resources");
        Some(())
    })
    .await;
    agent.release();
    assert_eq!(api.ended(&running).await["status"], "completed", "the running call is not cut");
    wait_for("the agent to be gone", PATIENCE, async || {
        (api.get(&format!("/agents/{id}")).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(agent.count(), 1, "a draining agent takes no new call");
}

async fn lists_are_filtered_and_paged_without_gaps(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| {
        if seen.input["hold"] == true { Act::Hold(json!(1)) } else { Act::Answer(json!(1)) }
    })
    .await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ntasks: [{{id: one, capability: {}, input_from: execution}}]\n",
        agent.capability
    ))
    .await;
    let mut done = Vec::new();
    for _ in 0..7 {
        done.push(api.run(&name, &json!({})).await["execution_id"].as_str().unwrap().to_owned());
    }
    let active = api.start(&name, &json!({"hold": true})).await;
    let ids = |page: &serde_json::Value| -> Vec<String> {
        let list = page["executions"].as_array().unwrap_or_else(|| panic!("{page}"));
        list.iter().map(|e| e["execution_id"].as_str().unwrap().to_owned()).collect()
    };
    let listed = api.get(&format!("/executions?workflow={name}")).await.expect(200);
    assert_eq!(ids(&listed), std::slice::from_ref(&active), "active ones unless asked otherwise");
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/executions?workflow={name}&status=completed&page_size=3&page_token={token}");
        let page = api.get(&path).await.expect(200);
        found.extend(ids(&page));
        match page["next_page_token"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => break,
        }
    }
    done.reverse();
    assert_eq!(found, done, "newest first, each once");
    agent.release();
    api.ended(&active).await;
}
