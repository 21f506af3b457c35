//! Lists and watches: pieces, selectors, revisions, bookmarks, forms.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use actix_web::test::TestRequest;
use kagero::actors::messages::WATCH_BATCHES_MAX;
use serde_json::{Value, json};
use support::client::{
    CONFIG_MAPS, Lines, TABLE, config_map, event, fill, get, get_as, names, patch, post, send,
    start,
};
use support::{CutWatchersOff, ForgetHistory};

#[actix_web::test]
async fn lists_come_in_pieces_that_are_of_one_state() {
    let (backend, api) = start().await;
    fill(&backend, 10).await;
    let first = get(&api, &format!("{CONFIG_MAPS}?limit=4")).await.json();
    assert_eq!(first["kind"], "ConfigMapList");
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    post(&api, CONFIG_MAPS, &config_map("c-00005x", &json!({}))).await;
    let (mut all, mut list) = (names(&first), first.clone());
    while let Some(token) = list["metadata"]["continue"].as_str() {
        list = get(&api, &format!("{CONFIG_MAPS}?limit=4&continue={token}"))
            .await
            .json();
        assert_eq!(
            list["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
        all.extend(names(&list));
    }
    let expected: Vec<String> = (0..10).map(|n| format!("c-{n:05}")).collect();
    assert_eq!(all, expected);
}

#[actix_web::test]
async fn a_piece_of_a_forgotten_state_is_expired_and_says_how_to_go_on() {
    let (backend, api) = start().await;
    fill(&backend, 6).await;
    let token =
        get(&api, &format!("{CONFIG_MAPS}?limit=2")).await.json()["metadata"]["continue"].clone();
    // More lists in pieces than views are kept for.
    for number in 0..8 {
        post(
            &api,
            CONFIG_MAPS,
            &config_map(&format!("d-{number}"), &json!({})),
        )
        .await;
        get(&api, &format!("{CONFIG_MAPS}?limit=2")).await;
    }
    post(&api, CONFIG_MAPS, &config_map("e", &json!({}))).await;
    let uri = format!("{CONFIG_MAPS}?limit=2&continue={}", token.as_str().unwrap());
    let expired = get(&api, &uri).await.fails(410, "Expired");
    let token = expired["metadata"]["continue"].as_str().unwrap();
    let rest = get(&api, &format!("{CONFIG_MAPS}?continue={token}"))
        .await
        .json();
    assert_eq!(names(&rest).len(), 4 + 8 + 1);
}

#[actix_web::test]
async fn long_lists_are_streamed_whole() {
    let (backend, api) = start().await;
    fill(&backend, 3_000).await;
    let all = get(&api, "/api/v1/configmaps").await.json();
    assert_eq!(names(&all).len(), 3_000);
    let half = get(&api, "/api/v1/configmaps?labelSelector=n%3D1")
        .await
        .json();
    assert_eq!(names(&half).len(), 1_500);
    let table = get_as(&api, "/api/v1/configmaps", TABLE).await.json();
    assert_eq!(table["rows"].as_array().unwrap().len(), 3_000);
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
}

#[actix_web::test]
async fn selectors_and_versions_select() {
    let (backend, api) = start().await;
    fill(&backend, 4).await;
    let one = get(
        &api,
        &format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Dc-00002"),
    )
    .await
    .json();
    assert_eq!(names(&one), ["c-00002"]);
    let both = "labelSelector=n%3D1&fieldSelector=metadata.name%3Dc-00002";
    assert!(names(&get(&api, &format!("{CONFIG_MAPS}?{both}")).await.json()).is_empty());
    let not = get(
        &api,
        &format!("{CONFIG_MAPS}?fieldSelector=metadata.name!%3Dc-00002"),
    )
    .await
    .json();
    assert_eq!(names(&not).len(), 3);
    let now = one["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = |revision: &str| {
        format!("{CONFIG_MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")
    };
    assert_eq!(get(&api, &exact(now)).await.code, 200);
    get(&api, &exact("1")).await.fails(410, "Expired");
}

#[actix_web::test]
async fn a_watch_begins_with_what_is_there_and_goes_on() {
    let (_backend, api) = start().await;
    post(&api, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let mut watch = Lines::open(&api, &format!("{CONFIG_MAPS}?watch=true"), "").await;
    assert_eq!(watch.event().await, event("ADDED", "a"));
    post(&api, CONFIG_MAPS, &config_map("b", &json!({}))).await;
    assert_eq!(watch.event().await, event("ADDED", "b"));
    let merge = "application/merge-patch+json";
    let uri = format!("{CONFIG_MAPS}/a");
    let changed = patch(&api, &uri, merge, &json!({"data": {"k": "w"}}))
        .await
        .json();
    let line = watch.next().await.unwrap();
    assert_eq!(
        (&line["type"], &line["object"]),
        (&json!("MODIFIED"), &changed)
    );
    send(&api, TestRequest::delete().uri(&uri)).await;
    let line = watch.next().await.unwrap();
    assert_eq!(line["type"], "DELETED");
    assert_eq!(line["object"]["data"]["k"], "w");
    let revision = |object: &Value| {
        object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(
        revision(&line["object"]) > revision(&changed),
        "the revision is that of the deletion"
    );
}

#[actix_web::test]
async fn an_object_that_leaves_a_selector_is_deleted_for_its_watcher() {
    let (_backend, api) = start().await;
    let from = post(&api, CONFIG_MAPS, &config_map("a", &json!({"on": "no"})))
        .await
        .json();
    let from = from["metadata"]["resourceVersion"].as_str().unwrap();
    let uri = format!("{CONFIG_MAPS}?watch=1&labelSelector=on%3Dyes&resourceVersion={from}");
    let mut watch = Lines::open(&api, &uri, "").await;
    for on in ["yes", "no", "still-no", "yes"] {
        let labels = json!({"metadata": {"labels": {"on": on}}});
        patch(
            &api,
            &format!("{CONFIG_MAPS}/a"),
            "application/merge-patch+json",
            &labels,
        )
        .await;
    }
    assert_eq!(watch.event().await, event("ADDED", "a"));
    let left = watch.next().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["on"], "yes");
    assert_eq!(watch.event().await, event("ADDED", "a"));
}

#[actix_web::test]
async fn one_name_is_watched_by_key() {
    let (_backend, api) = start().await;
    for name in ["a", "a-1"] {
        post(&api, CONFIG_MAPS, &config_map(name, &json!({}))).await;
    }
    let uri = format!("{CONFIG_MAPS}?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Da");
    let mut watch = Lines::open(&api, &uri, "").await;
    assert_eq!(watch.event().await, event("ADDED", "a"));
    for name in ["a-1", "a"] {
        send(
            &api,
            TestRequest::delete().uri(&format!("{CONFIG_MAPS}/{name}")),
        )
        .await;
    }
    assert_eq!(watch.event().await, event("DELETED", "a"));
}

#[actix_web::test]
async fn a_watch_ends_in_time_with_a_bookmark() {
    let (_backend, api) = start().await;
    let made = post(
        &api,
        "/api/v1/namespaces",
        &json!({"metadata": {"name": "other"}}),
    )
    .await
    .json();
    let uri = format!("{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1");
    let mut watch = Lines::open(&api, &uri, "").await;
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    let revisions = (
        &bookmark["object"]["metadata"]["resourceVersion"],
        &made["metadata"]["resourceVersion"],
    );
    assert_eq!(
        revisions.0, revisions.1,
        "a quiet watcher learns of revisions elsewhere"
    );
    assert!(watch.next().await.is_none());
}

#[actix_web::test]
async fn a_streaming_list_says_where_it_ends() {
    let (backend, api) = start().await;
    fill(&backend, 600).await;
    let options = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Lines::open(&api, &format!("{CONFIG_MAPS}?{options}"), "").await;
    for number in 0..600 {
        assert_eq!(
            watch.event().await,
            event("ADDED", &format!("c-{number:05}"))
        );
    }
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let refused = get(
        &api,
        &format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true"),
    )
    .await;
    refused.fails(400, "BadRequest");
}

#[actix_web::test]
async fn a_watch_from_a_forgotten_revision_is_told_so() {
    let (backend, api) = start().await;
    fill(&backend, 3).await;
    backend.send(ForgetHistory).await.unwrap();
    let mut watch = Lines::open(
        &api,
        &format!("{CONFIG_MAPS}?watch=true&resourceVersion=1"),
        "",
    )
    .await;
    let line = watch.next().await.unwrap();
    assert_eq!(
        (&line["type"], &line["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(line["object"]["reason"], "Expired");
    assert!(watch.next().await.is_none());
}

#[actix_web::test]
async fn a_watch_in_tables_heads_its_columns_once() {
    let (_backend, api) = start().await;
    post(&api, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let mut watch = Lines::open(&api, &format!("{CONFIG_MAPS}?watch=true"), TABLE).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(
        first["object"]["rows"][0]["object"]["metadata"]["name"],
        "a"
    );
    post(&api, CONFIG_MAPS, &config_map("b", &json!({}))).await;
    let second = watch.next().await.unwrap();
    assert!(second["object"]["columnDefinitions"].is_null());
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

#[actix_web::test]
async fn a_watcher_that_does_not_read_is_cut_off() {
    let (backend, api) = start().await;
    let mut watch = Lines::open(&api, &format!("{CONFIG_MAPS}?watch=true"), "").await;
    fill(&backend, WATCH_BATCHES_MAX + 10).await;
    for number in 0..WATCH_BATCHES_MAX {
        let expected = event("ADDED", &format!("c-{number:05}"));
        assert_eq!(watch.event().await, expected);
    }
    assert!(
        watch.next().await.is_none(),
        "no gap is ever skipped in silence"
    );
}

#[actix_web::test]
async fn a_watch_that_was_cut_off_ends_without_a_bookmark() {
    let (backend, api) = start().await;
    let uri = format!("{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1");
    let mut watch = Lines::open(&api, &uri, "").await;
    fill(&backend, 1).await;
    backend.send(CutWatchersOff).await.unwrap();
    post(&api, CONFIG_MAPS, &config_map("unseen", &json!({}))).await;
    // Past its time the watch would say goodbye with a bookmark: of a revision whose changes it never saw.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(watch.event().await, event("ADDED", "c-00000"));
    assert!(watch.next().await.is_none());
}
