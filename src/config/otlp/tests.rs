use uuid::Uuid;

use super::*;

const AT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

/// What such an environment comes to, and what is wrong with it.
fn read(variables: &[(&str, &str)]) -> (Option<OtlpSettings>, Vec<String>) {
    let variable =
        |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into());
    match OtlpSettings::read(&Environment(&variable)) {
        Ok(settings) => (settings, Vec::new()),
        Err(faults) => (None, faults.into_iter().map(|fault| fault.to_string()).collect()),
    }
}

fn settings(variables: &[(&str, &str)]) -> OtlpSettings {
    let (settings, wrong) = read(&[&[AT], variables].concat());
    settings.unwrap_or_else(|| panic!("{variables:?}: {wrong:?}"))
}

#[test]
fn without_an_endpoint_or_switched_off_there_is_nothing() {
    let off = [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")];
    let environments: [&[_]; 4] =
        [&[], &[("OTEL_TRACES_SAMPLER", "?")], &[AT, off[0], ("OTEL_TRACES_SAMPLER", "?")], &[AT, off[1]]];
    for environment in environments {
        let (settings, wrong) = read(environment);
        assert!(settings.is_none() && wrong.is_empty(), "{environment:?}: {wrong:?}");
    }
}

#[test]
fn traces_have_a_place_below_the_endpoint_for_everything_or_one_of_their_own() {
    let at = |variable, url| settings(&[(variable, url)]).endpoint.to_string();
    assert_eq!(settings(&[]).endpoint, "http://127.0.0.1:4318/v1/traces");
    let (below, _) = read(&[(AT.0, "https://otel.example/a/")]);
    assert_eq!(
        below.map(|one| one.endpoint.to_string()).as_deref(),
        Some("https://otel.example/a/v1/traces")
    );
    assert_eq!(at("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/x?y=z"), "http://c:1/x?y=z");
    assert_eq!(
        settings(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/x?key=secret")]).collector(),
        "http://c:1/x"
    );
}

#[test]
fn what_is_wrong_is_named_by_its_variable_and_never_repeated() {
    let secret = "S3CRET";
    for (variable, value) in [
        (AT.0, "S3CRET"),
        (AT.0, "127.0.0.1:4318/S3CRET"),
        (AT.0, "ftp://S3CRET"),
        (AT.0, "http://ann:S3CRET@otel.example"),
        (AT.0, "http://otel.example:99999/S3CRET"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "S3CRET"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=S3CRET"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%S3CRET"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=S3CRET%0A"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "=S3CRET"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/S3CRET"),
        ("OTEL_RESOURCE_ATTRIBUTES", "S3CRET"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ] {
        let (settings, wrong) = read(&[&[(variable, value)], &[AT][..]].concat());
        assert!(settings.is_none(), "{variable}={value}");
        assert_eq!(wrong.len(), 1, "{variable}={value}: {wrong:?}");
        assert!(wrong[0].starts_with(&format!("{variable} ")) && !wrong[0].contains(secret), "{wrong:?}");
    }
    let ratio = [AT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    assert_eq!(read(&ratio).1, ["OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1"]);
    let sizes = [AT, ("OTEL_BSP_MAX_QUEUE_SIZE", "5"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "6")];
    assert!(read(&sizes).1[0].contains("OTEL_BSP_MAX_QUEUE_SIZE (5)"));
    let all =
        [AT, ("OTEL_SDK_DISABLED", "x"), ("OTEL_TRACES_SAMPLER", "x"), ("OTEL_BSP_SCHEDULE_DELAY", "x")];
    assert_eq!(read(&all).1.len(), 3, "all of it at once");
}

#[test]
fn headers_are_read_as_in_a_url_and_print_nothing() {
    let settings = settings(&[("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20S3CRET, x-scope=a=b,")]);
    let [(first, basic), (second, scope)] = &settings.headers[..] else { panic!("{settings:?}") };
    assert_eq!((first.as_str(), basic.as_bytes()), ("authorization", &b"Basic S3CRET"[..]));
    assert_eq!((second.as_str(), scope.as_bytes()), ("x-scope", &b"a=b"[..]));
    assert!(!format!("{settings:?}").contains("S3CRET"));
}

#[test]
fn a_service_is_called_by_its_own_variable_first() {
    let called = |variables: &[(&str, &str)]| {
        let resource = settings(variables).resource;
        let names: Vec<String> =
            resource.into_iter().filter(|(name, _)| name == "service.name").map(|(_, value)| value).collect();
        names.join(" ")
    };
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "a=b%20c,service.name=from-list");
    assert_eq!(called(&[]), "rollbook");
    assert_eq!(called(&[attributes]), "from-list");
    assert_eq!(called(&[attributes, ("OTEL_SERVICE_NAME", "own")]), "own");
    assert!(settings(&[attributes]).resource.contains(&("a".to_owned(), "b c".to_owned())));
}

#[test]
fn a_share_of_our_own_ids_and_of_others_is_that_share() {
    let sampler =
        |name, share| settings(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", share)]).sampler;
    let quarter = sampler("parentbased_traceidratio", "0.25");
    let makers: [fn() -> Uuid; 3] = [Uuid::now_v7, Uuid::new_v4, || Uuid::from_u128(rand::random())];
    for make in makers {
        let kept = (0..10_000).filter(|_| quarter.keeps(make(), None)).count();
        // Ten standard deviations to either side.
        assert!((2_067..2_933).contains(&kept), "{kept} of 10000");
    }
    let trace = Uuid::now_v7();
    assert!(quarter.keeps(trace, Some(true)) && !quarter.keeps(trace, Some(false)));
    assert!(sampler("always_on", "").keeps(trace, Some(false)), "whatever the caller says");
    assert!(!sampler("always_off", "").keeps(trace, Some(true)));
    assert!(sampler("traceidratio", "1").keeps(Uuid::max(), None));
    assert!(!sampler("traceidratio", "0").keeps(Uuid::nil(), None));
    assert!(settings(&[]).sampler.keeps(trace, None) && !settings(&[]).sampler.keeps(trace, Some(false)));
}
