use super::*;

#[test]
fn users() {
    for (text, uid, gid) in [
        ("0", 0, None),
        ("1", 1, None),
        ("1:2", 1, Some(2)),
        ("1000:0", 1000, Some(0)),
        ("4294967294", 4_294_967_294, None),
    ] {
        assert_eq!(user(text).unwrap(), UserArg { uid, gid }, "{text:?}");
    }
    for bad in [
        "",
        ":",
        ":1",
        "1:",
        "-1",
        "+1",
        "01",
        "00",
        "1:02",
        " 1",
        "1 ",
        "1:2:3",
        "1:-1",
        "root",
        "1:root",
        "0x1",
        "1.0",
        "4294967295",
        "4294967296",
        "1:4294967295",
        "99999999999999999999",
        "１",
        "1\n",
    ] {
        assert!(user(bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn groups() {
    assert_eq!(gid("10").unwrap(), 10);
    for bad in ["", "-1", "010", "1,2", "wheel", "4294967295"] {
        assert!(gid(bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn fd_counts() {
    assert_eq!(preserve_fds("0").unwrap(), 0);
    assert_eq!(preserve_fds("12").unwrap(), 12);
    for bad in ["", "-1", "1048577", "4294967296", "x", "1 ", "+1", "0x1"] {
        assert!(preserve_fds(bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn signals() {
    for (text, number) in [
        ("KILL", 9),
        ("SIGKILL", 9),
        ("kill", 9),
        ("sigTerm", 15),
        ("9", 9),
        ("0", 0),
        ("64", 64),
        ("HUP", 1),
        ("SYS", 31),
        ("IOT", 6),
        ("CLD", 17),
        ("POLL", 29),
        ("WINCH", 28),
        ("RTMIN", 34),
        ("SIGRTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMIN+30", 64),
        ("RTMAX", 64),
        ("rtmax-2", 62),
        ("SIGRTMAX-30", 34),
    ] {
        assert_eq!(signal(text).unwrap(), number, "{text:?}");
    }
    for bad in [
        "",
        "-",
        "-9",
        "-KILL",
        "--9",
        "65",
        "09",
        "SIG",
        "SIG9",
        "NOPE",
        "KILL ",
        "RTMIN+31",
        "RTMAX-31",
        "RTMIN-1",
        "RTMAX+1",
        "RTMIN+",
        "RTMIN3",
        "RTMIN+03",
        "+9",
        "9.0",
        "4294967296",
        "SIGSIGKILL",
    ] {
        assert!(signal(bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn environment() {
    for good in ["A=", "A=b", "A=b=c", "a b=c"] {
        env(good).unwrap();
    }
    for bad in ["", "A", "=", "=x"] {
        assert!(env(bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn amounts_of_bytes() {
    for (text, n) in [
        ("0", 0),
        ("-1", -1),
        ("1048576", 1 << 20),
        ("512k", 512 << 10),
        ("2G", 2 << 30),
        ("3MiB", 3 << 20),
        ("7b", 7),
    ] {
        assert_eq!(bytes("--memory", text).unwrap(), n, "{text:?}");
    }
    for bad in ["", "-2", "m", "1x", "1.5g", "9223372036854775808", "9007199254740992k", "1 m"] {
        assert!(bytes("--memory", bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn intervals() {
    for (text, ms) in [("5s", 5000), ("100ms", 100), ("1m30s", 90_000), ("2h", 7_200_000), ("3", 3000)] {
        assert_eq!(interval(text).unwrap(), ms, "{text:?}");
    }
    for bad in ["", "0", "0s", "s", "5x", "-1s", "1.5s", "18446744073709551615h"] {
        assert!(interval(bad).is_err(), "{bad:?} was accepted");
    }
}
