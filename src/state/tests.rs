use super::*;

fn state(spec: &str) -> State {
    State {
        id: "c1".into(),
        bundle: "/b".into(),
        rootfs: "/b/rootfs".into(),
        init_process_pid: 42,
        created: "2026-01-02T03:04:05.6Z".into(),
        spec: Some(RawValue::from_string(spec.to_owned()).unwrap()),
        ..State::default()
    }
}

#[test]
fn the_configuration_is_kept_byte_for_byte() {
    let spec = "{\n  \"z\": 1.50,\n\t\"annotations\": {\"b\": \"2\", \"a\": \"\\u00e9\"}, \"a\": [ ] }";
    let json = serde_json::to_string(&state(spec)).unwrap();
    let back: State = serde_json::from_str(&json).unwrap();
    assert_eq!(back.spec.unwrap().get(), spec);
}

#[test]
fn a_state_of_another_version_is_readable() {
    let state: State = serde_json::from_str(r#"{"id":"c1","new_field":{"x":[1]}}"#).unwrap();
    assert_eq!((state.id.as_str(), state.init_process_pid, state.spec.is_none()), ("c1", 0, true));
}

#[test]
fn what_state_prints() {
    let state = state("{}");
    let text = serde_json::to_string(&state.shown(Status::Running, "root".into())).unwrap();
    assert_eq!(
        text,
        r#"{"ociVersion":"1.3.0","id":"c1","pid":42,"status":"running","bundle":"/b","rootfs":"/b/rootfs","created":"2026-01-02T03:04:05.6Z","owner":"root"}"#
    );
    assert_eq!(state.shown(Status::Stopped, String::new()).pid, 0);
}

#[test]
fn pid_namespaces() {
    for (namespaces, own) in [
        (r#"[{"type":"pid"}]"#, true),
        (r#"[{"type":"mount"},{"type":"pid","path":""}]"#, true),
        (r#"[{"type":"pid","path":"/proc/1/ns/pid"}]"#, false),
        (r#"[{"type":"mount"}]"#, false),
    ] {
        let spec = format!(r#"{{"ociVersion":"1.0.0","linux":{{"namespaces":{namespaces}}}}}"#);
        assert_eq!(state(&spec).has_own_pid_namespace(), own, "{namespaces}");
    }
    assert!(!state("{}").has_own_pid_namespace());
    assert!(!State::default().has_own_pid_namespace());
}
