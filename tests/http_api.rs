//! The API as clients see it: the actix-web application over the real store and the real write path.
//!
//! Without consensus and without controllers. Lists and watches are tested in `http_lists.rs`, connections in
//! `http_server.rs`, what kubectl makes of it all in `kubectl_api.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use actix_web::test::{TestRequest, init_service};
use bytes::Bytes;
use serde_json::{Value, json};
use support::client::{CONFIG_MAPS, TABLE, config_map, get, get_as, patch, post, send, start};
use support::{Backend, SetLog};

#[actix_web::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let (_backend, api) = start().await;
    let made = post(&api, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    assert_eq!(made.code, 201);
    let made = made.json();
    let uri = format!("{CONFIG_MAPS}/a");
    assert_eq!(get(&api, &uri).await.json(), made);
    post(&api, CONFIG_MAPS, &config_map("a", &json!({})))
        .await
        .fails(409, "AlreadyExists");

    let merge = "application/merge-patch+json";
    let changed = patch(&api, &uri, merge, &json!({"data": {"k": "w"}}))
        .await
        .json();
    assert_eq!(changed["data"]["k"], "w");
    assert_ne!(
        changed["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );

    let stale = send(&api, TestRequest::put().uri(&uri).set_json(&made)).await;
    let status = stale.fails(409, "Conflict");
    assert_eq!(status["details"]["name"], "a");
    let replaced = send(&api, TestRequest::put().uri(&uri).set_json(&changed)).await;
    assert_eq!(replaced.code, 200);

    let gone = send(&api, TestRequest::delete().uri(&uri)).await;
    assert_eq!(
        (gone.code, &gone.json()["status"]),
        (200, &json!("Success"))
    );
    get(&api, &uri).await.fails(404, "NotFound");
}

#[actix_web::test]
async fn bodies_may_be_yaml_or_lack_type_and_kind() {
    let (_backend, api) = start().await;
    let yaml = TestRequest::post()
        .uri(CONFIG_MAPS)
        .set_payload("metadata: {name: y}\ndata: {k: v}\n");
    let made = send(
        &api,
        yaml.insert_header(("content-type", "application/yaml")),
    )
    .await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(made.json()["kind"], "ConfigMap");
    let untyped = TestRequest::post()
        .uri(CONFIG_MAPS)
        .set_payload(r#"{"metadata":{"name":"z"}}"#);
    assert_eq!(send(&api, untyped).await.code, 201);
    let bad = TestRequest::post().uri(CONFIG_MAPS).set_payload("a: [");
    send(
        &api,
        bad.insert_header(("content-type", "application/yaml")),
    )
    .await
    .fails(400, "BadRequest");
}

#[actix_web::test]
async fn a_key_given_twice_is_refused_warned_of_or_ignored() {
    let (_backend, api) = start().await;
    let create = |name: &str, validation: &str| {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"1","k":"2"}}}}"#);
        let uri = format!("{CONFIG_MAPS}?fieldValidation={validation}");
        TestRequest::post().uri(&uri).set_payload(body)
    };
    let strict = send(&api, create("a", "Strict"))
        .await
        .fails(400, "BadRequest");
    assert!(
        strict["message"]
            .as_str()
            .unwrap()
            .ends_with(r#"duplicate field "data.k""#)
    );
    let warned = send(&api, create("b", "Warn")).await;
    assert_eq!(warned.code, 201);
    assert_eq!(
        warned.header("warning"),
        r#"299 - "duplicate field \"data.k\"""#
    );
    assert_eq!(warned.json()["data"]["k"], "2");
    assert_eq!(
        send(&api, create("c", "Ignore")).await.header("warning"),
        ""
    );
}

#[actix_web::test]
async fn what_cannot_be_done_is_said_in_a_status() {
    let (_backend, api) = start().await;
    get(&api, "/nowhere").await.fails(404, "NotFound");
    get(&api, "/api/v1/frogs").await.fails(404, "NotFound");
    get(&api, "/apis/apps/v9").await.fails(404, "NotFound");
    get(&api, &format!("{CONFIG_MAPS}/nobody"))
        .await
        .fails(404, "NotFound");
    send(&api, TestRequest::put().uri(CONFIG_MAPS))
        .await
        .fails(405, "MethodNotAllowed");
    send(&api, TestRequest::delete().uri("/version"))
        .await
        .fails(405, "MethodNotAllowed");
    post(&api, "/api/v1/configmaps", &config_map("a", &json!({})))
        .await
        .fails(405, "MethodNotAllowed");
    get_as(&api, CONFIG_MAPS, "application/cbor")
        .await
        .fails(406, "NotAcceptable");
    let text = TestRequest::post().uri(CONFIG_MAPS).set_payload("x");
    let text = text.insert_header(("content-type", "text/plain"));
    send(&api, text).await.fails(415, "UnsupportedMediaType");
    let huge = TestRequest::post()
        .uri(CONFIG_MAPS)
        .set_payload(vec![b' '; 10_000_000]);
    send(&api, huge).await.fails(413, "RequestEntityTooLarge");
    let cut = TestRequest::post()
        .uri(CONFIG_MAPS)
        .set_payload(r#"{"metadata":"#);
    send(&api, cut).await.fails(400, "BadRequest");
    let dry = format!("{CONFIG_MAPS}?dryRun=Some");
    post(&api, &dry, &config_map("a", &json!({})))
        .await
        .fails(400, "BadRequest");
    get(&api, &format!("{CONFIG_MAPS}?resourceVersion=x"))
        .await
        .fails(400, "BadRequest");
    get(&api, &format!("{CONFIG_MAPS}?continue=x"))
        .await
        .fails(400, "BadRequest");
    get(&api, &format!("{CONFIG_MAPS}?labelSelector=a%20in"))
        .await
        .fails(400, "BadRequest");
    patch(
        &api,
        &format!("{CONFIG_MAPS}/a"),
        "application/json",
        &json!({}),
    )
    .await
    .fails(415, "UnsupportedMediaType");
}

#[actix_web::test]
async fn what_is_not_served_is_named() {
    let (_backend, api) = start().await;
    let unserved = [
        ("/nowhere", "/nowhere"),
        ("/apis/metrics.k8s.io", "metrics.k8s.io"),
        ("/apis/apps/v9", "apps/v9"),
        ("/api/v1/services", "services"),
        ("/api/v1/namespaces/default/pods/p/exec", "pods/exec"),
        (
            "/api/v1/namespaces/default/pods/p/proxy/a/b",
            "pods/proxy/a/b",
        ),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            "horizontalpodautoscalers.autoscaling",
        ),
        ("/openapi/v3/apis/batch/v1", "/openapi/v3/apis/batch/v1"),
    ];
    for (path, what) in unserved {
        let status = get(&api, path).await.fails(404, "NotFound");
        let message = status["message"].as_str().unwrap();
        let told = format!("Kagero does not serve {what} (yet)");
        assert!(message.ends_with(&told), "{path}: {message}");
        // kubectl debug reads the details of a 404 without looking whether there are any.
        assert!(status["details"].is_object(), "{path}: {status}");
    }
}

#[actix_web::test]
async fn a_dry_run_writes_nothing() {
    let (_backend, api) = start().await;
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    assert_eq!(
        post(&api, &dry, &config_map("a", &json!({}))).await.code,
        201
    );
    get(&api, &format!("{CONFIG_MAPS}/a"))
        .await
        .fails(404, "NotFound");
}

#[actix_web::test]
async fn tables_and_metadata_are_served_when_asked() {
    let (_backend, api) = start().await;
    post(&api, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let uri = format!("{CONFIG_MAPS}/a");
    let table = get_as(&api, &uri, TABLE).await.json();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = get_as(&api, &format!("{uri}?includeObject=Object"), TABLE)
        .await
        .json();
    assert_eq!(whole["rows"][0]["object"]["data"]["k"], "v");
    let bare = get_as(&api, &format!("{uri}?includeObject=None"), TABLE)
        .await
        .json();
    assert!(bare["rows"][0]["object"].is_null());
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let partial = get_as(&api, &uri, partial).await.json();
    assert_eq!(partial["kind"], "PartialObjectMetadata");
    assert!(partial.get("data").is_none());
}

#[actix_web::test]
async fn logs_are_streamed_from_the_pods_node() {
    let (backend, api) = start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}});
    assert_eq!(post(&api, pods, &pod).await.code, 201);
    let status = get(&api, &format!("{pods}/p/log"))
        .await
        .fails(400, "BadRequest");
    assert_eq!(
        status["message"],
        "a container name must be specified for pod p, choose one of: [a b]"
    );
    assert_eq!(
        get(&api, &format!("{pods}/p/log?container=a")).await.text(),
        ""
    );

    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let bound = post(&api, &format!("{pods}/p/binding"), &binding).await;
    assert_eq!(bound.code, 201, "{}", bound.text());
    get(&api, &format!("{pods}/p/log?container=a"))
        .await
        .fails(400, "BadRequest");
    let running = json!({"status": {"containerStatuses": [{"name": "a", "state": {"running": {}}, "ready": true,
        "restartCount": 0, "image": "i", "imageID": ""}]}});
    let merge = "application/merge-patch+json";
    let patched = patch(&api, &format!("{pods}/p/status"), merge, &running).await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    let pieces = ["one\n", "two\n"].map(Bytes::from).to_vec();
    backend
        .send(SetLog("default/p/a".into(), pieces))
        .await
        .unwrap();
    assert_eq!(
        get(&api, &format!("{pods}/p/log?container=a&follow=true"))
            .await
            .text(),
        "one\ntwo\n"
    );
    assert_eq!(
        get(&api, &format!("{pods}/p/log?container=a&tailLines=1"))
            .await
            .text(),
        "two\n"
    );
    get(&api, &format!("{pods}/p/log?container=a&previous=true"))
        .await
        .fails(400, "BadRequest");
}

#[actix_web::test]
async fn the_server_tells_of_itself() {
    let (_backend, api) = start().await;
    for version in ["/version", "/version/"] {
        let version = get(&api, version).await.json();
        assert!(
            version["gitVersion"]
                .as_str()
                .unwrap()
                .starts_with("v1.33.0+kagero.")
        );
    }
    assert_eq!(get(&api, "/healthz").await.text(), "ok");
    assert_eq!(
        get(&api, "/readyz?verbose").await.text(),
        "[+]ping ok\n[+]node ok\nreadyz check passed\n"
    );
    assert_eq!(get(&api, "/kagero/v1/status").await.json()["leader"], "n1");
    get(&api, CONFIG_MAPS).await;
    let metrics = get(&api, "/metrics").await;
    let counted = r#"apiserver_request_total{code="200",resource="configmaps",verb="LIST"} 1"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    assert!(
        metrics
            .text()
            .contains("apiserver_request_duration_seconds_bucket")
    );
}

#[actix_web::test]
async fn a_node_that_is_not_ready_says_why() {
    let backend = Backend::start_new();
    let mut state = support::state(&backend);
    state.readiness = std::rc::Rc::new(|| Err("no leader".to_owned()));
    let api = init_service(kagero::http::app(state)).await;
    let ready = get(&api, "/readyz").await;
    assert_eq!(ready.code, 500);
    assert_eq!(
        ready.text(),
        "[+]ping ok\n[-]node failed: no leader\nreadyz check failed\n"
    );
    assert_eq!(get(&api, "/livez").await.code, 200);
}

#[actix_web::test]
async fn what_there_is_can_be_discovered_both_ways() {
    let (_backend, api) = start().await;
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let aggregated = get_as(&api, "/api", accept).await;
    assert!(
        aggregated
            .header("content-type")
            .contains("as=APIGroupDiscoveryList")
    );
    assert_eq!(aggregated.json()["apiVersion"], "apidiscovery.k8s.io/v2");
    assert_eq!(get(&api, "/api").await.json()["versions"], json!(["v1"]));
    assert_eq!(get(&api, "/apis").await.json()["kind"], "APIGroupList");
    assert_eq!(get(&api, "/apis/apps").await.json()["kind"], "APIGroup");
    assert_eq!(get(&api, "/api/v1").await.json()["kind"], "APIResourceList");
    assert_eq!(
        get(&api, "/apis/apps/v1/").await.json()["groupVersion"],
        "apps/v1"
    );
}

#[actix_web::test]
async fn schemas_can_be_kept_by_their_hash() {
    let (_backend, api) = start().await;
    let v2 = get(&api, "/openapi/v2").await;
    assert_eq!((v2.code, v2.body.len()), (200, 0));
    let index = get(&api, "/openapi/v3").await.json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    let document = get(&api, &url).await;
    assert!(document.json()["components"]["schemas"].is_object());
    assert_eq!(document.header("cache-control"), "public, immutable");
    let tag = document.header("etag").to_owned();
    let again = TestRequest::get()
        .uri(&url)
        .insert_header(("if-none-match", tag));
    assert_eq!(send(&api, again).await.code, 304);
    get(&api, "/openapi/v3/apis/nothing/v1")
        .await
        .fails(404, "NotFound");
}

#[actix_web::test]
async fn the_end_of_a_node_is_announced_to_the_process_behind_it() {
    const EVICTIONS: &str = "/kagero/v1/evictions";
    let (_backend, api) = start().await;
    let contact = json!({
        "name": "n1", "address": "a:1", "api": "a:2", "machineId": "m", "bootId": "b", "mayVote": true, "labels": {},
    });
    let annotations = json!({
        "kagero.dev/incarnation": "00000000000000aa",
        "kagero.dev/contact": contact.to_string(),
    });
    for (name, annotations) in [("n1", annotations), ("foreign", json!({}))] {
        let metadata = json!({"name": name, "annotations": annotations});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata});
        assert_eq!(post(&api, "/api/v1/nodes", &node).await.code, 201);
    }
    let evict = |node: &str, in_ms: u64| json!({"node": node, "inMs": in_ms});
    let announced = post(&api, EVICTIONS, &evict("n1", 30_000)).await;
    assert_eq!(announced.code, 200, "{}", announced.text());
    let announced = announced.json();
    assert_eq!(announced["incarnation"], "00000000000000aa");
    let node = get(&api, "/api/v1/nodes/n1").await.json();
    let written = &node["metadata"]["annotations"]["kagero.dev/eviction"];
    let written: Value = serde_json::from_str(written.as_str().unwrap()).unwrap();
    let time = |value: &Value| -> jiff::Timestamp { value.as_str().unwrap().parse().unwrap() };
    for field in ["since", "deadline"] {
        assert_eq!(time(&written[field]), time(&announced[field]));
    }
    let notice = time(&written["deadline"]).duration_since(time(&written["since"]));
    assert_eq!(notice.as_secs(), 30);

    let refused = post(&api, EVICTIONS, &evict("n2", 0)).await;
    let refused = refused.fails(404, "NotFound");
    assert_eq!(refused["message"], r#"nodes "n2" not found"#);
    let foreign = post(&api, EVICTIONS, &evict("foreign", 0)).await;
    foreign.fails(409, "Conflict");
    let late = post(&api, EVICTIONS, &evict("n1", 86_400_001)).await;
    late.fails(400, "BadRequest");
    let more = json!({"node": "n1", "inMs": 1, "force": true});
    let more = post(&api, EVICTIONS, &more).await;
    more.fails(400, "BadRequest");
    get(&api, EVICTIONS).await.fails(405, "MethodNotAllowed");
}
