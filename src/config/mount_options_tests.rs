use super::*;

fn parse(options: &str) -> MountOptions {
    MountOptions::parse(&options.split(',').collect::<Vec<_>>())
}

#[test]
fn sorted_without_doubles() {
    assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn numbers_are_the_kernels() {
    for (ours, theirs) in [
        (ms::RDONLY, libc::MS_RDONLY),
        (ms::NOSUID, libc::MS_NOSUID),
        (ms::NODEV, libc::MS_NODEV),
        (ms::NOEXEC, libc::MS_NOEXEC),
        (ms::SYNCHRONOUS, libc::MS_SYNCHRONOUS),
        (ms::REMOUNT, libc::MS_REMOUNT),
        (ms::MANDLOCK, libc::MS_MANDLOCK),
        (ms::DIRSYNC, libc::MS_DIRSYNC),
        (ms::NOSYMFOLLOW, libc::MS_NOSYMFOLLOW),
        (ms::NOATIME, libc::MS_NOATIME),
        (ms::NODIRATIME, libc::MS_NODIRATIME),
        (ms::BIND, libc::MS_BIND),
        (ms::REC, libc::MS_REC),
        (ms::SILENT, libc::MS_SILENT),
        (ms::UNBINDABLE, libc::MS_UNBINDABLE),
        (ms::PRIVATE, libc::MS_PRIVATE),
        (ms::SLAVE, libc::MS_SLAVE),
        (ms::SHARED, libc::MS_SHARED),
        (ms::RELATIME, libc::MS_RELATIME),
        (ms::I_VERSION, libc::MS_I_VERSION),
        (ms::STRICTATIME, libc::MS_STRICTATIME),
        (ms::LAZYTIME, libc::MS_LAZYTIME),
        (attr::RDONLY, libc::MOUNT_ATTR_RDONLY),
        (attr::NOSUID, libc::MOUNT_ATTR_NOSUID),
        (attr::NODEV, libc::MOUNT_ATTR_NODEV),
        (attr::NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        (attr::ATIME, libc::MOUNT_ATTR__ATIME),
        (attr::RELATIME, libc::MOUNT_ATTR_RELATIME),
        (attr::NOATIME, libc::MOUNT_ATTR_NOATIME),
        (attr::STRICTATIME, libc::MOUNT_ATTR_STRICTATIME),
        (attr::NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
        (attr::IDMAP, libc::MOUNT_ATTR_IDMAP),
        (attr::NOSYMFOLLOW, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ] {
        assert_eq!(ours, theirs);
    }
}

/// Every option alone: (name, attr set, attr clear, recursive set, recursive clear, superblock set,
/// superblock clear, propagation).
type Row = (&'static str, u64, u64, u64, u64, u64, u64, u64);
#[rustfmt::skip]
const ALONE: &[Row] = &[
    ("async", 0, 0, 0, 0, 0, ms::SYNCHRONOUS, 0),
    ("atime", 0, attr::ATIME, 0, 0, 0, 0, 0),
    ("defaults", 0, 0, 0, 0, 0, 0, 0),
    ("dev", 0, attr::NODEV, 0, 0, 0, 0, 0),
    ("diratime", 0, attr::NODIRATIME, 0, 0, 0, 0, 0),
    ("dirsync", 0, 0, 0, 0, ms::DIRSYNC, 0, 0),
    ("exec", 0, attr::NOEXEC, 0, 0, 0, 0, 0),
    ("iversion", 0, 0, 0, 0, ms::I_VERSION, 0, 0),
    ("lazytime", 0, 0, 0, 0, ms::LAZYTIME, 0, 0),
    ("loud", 0, 0, 0, 0, 0, ms::SILENT, 0),
    ("mand", 0, 0, 0, 0, ms::MANDLOCK, 0, 0),
    ("noatime", attr::NOATIME, attr::ATIME, 0, 0, 0, 0, 0),
    ("nodev", attr::NODEV, 0, 0, 0, 0, 0, 0),
    ("nodiratime", attr::NODIRATIME, 0, 0, 0, 0, 0, 0),
    ("noexec", attr::NOEXEC, 0, 0, 0, 0, 0, 0),
    ("noiversion", 0, 0, 0, 0, 0, ms::I_VERSION, 0),
    ("nolazytime", 0, 0, 0, 0, 0, ms::LAZYTIME, 0),
    ("nomand", 0, 0, 0, 0, 0, ms::MANDLOCK, 0),
    ("norelatime", 0, 0, 0, 0, 0, 0, 0),
    ("nostrictatime", 0, attr::ATIME, 0, 0, 0, 0, 0),
    ("nosuid", attr::NOSUID, 0, 0, 0, 0, 0, 0),
    ("nosymfollow", attr::NOSYMFOLLOW, 0, 0, 0, 0, 0, 0),
    ("private", 0, 0, 0, 0, 0, 0, ms::PRIVATE),
    ("ratime", 0, 0, 0, attr::ATIME, 0, 0, 0),
    ("rdev", 0, 0, 0, attr::NODEV, 0, 0, 0),
    ("rdiratime", 0, 0, 0, attr::NODIRATIME, 0, 0, 0),
    ("relatime", 0, attr::ATIME, 0, 0, 0, 0, 0),
    ("rexec", 0, 0, 0, attr::NOEXEC, 0, 0, 0),
    ("rnoatime", 0, 0, attr::NOATIME, attr::ATIME, 0, 0, 0),
    ("rnodev", 0, 0, attr::NODEV, 0, 0, 0, 0),
    ("rnodiratime", 0, 0, attr::NODIRATIME, 0, 0, 0, 0),
    ("rnoexec", 0, 0, attr::NOEXEC, 0, 0, 0, 0),
    ("rnorelatime", 0, 0, 0, 0, 0, 0, 0),
    ("rnostrictatime", 0, 0, 0, attr::ATIME, 0, 0, 0),
    ("rnosuid", 0, 0, attr::NOSUID, 0, 0, 0, 0),
    ("rnosymfollow", 0, 0, attr::NOSYMFOLLOW, 0, 0, 0, 0),
    ("ro", attr::RDONLY, 0, 0, 0, ms::RDONLY, 0, 0),
    ("rprivate", 0, 0, 0, 0, 0, 0, ms::PRIVATE | ms::REC),
    ("rrelatime", 0, 0, 0, attr::ATIME, 0, 0, 0),
    ("rro", 0, 0, attr::RDONLY, 0, 0, 0, 0),
    ("rrw", 0, 0, 0, attr::RDONLY, 0, 0, 0),
    ("rshared", 0, 0, 0, 0, 0, 0, ms::SHARED | ms::REC),
    ("rslave", 0, 0, 0, 0, 0, 0, ms::SLAVE | ms::REC),
    ("rstrictatime", 0, 0, attr::STRICTATIME, attr::ATIME, 0, 0, 0),
    ("rsuid", 0, 0, 0, attr::NOSUID, 0, 0, 0),
    ("rsymfollow", 0, 0, 0, attr::NOSYMFOLLOW, 0, 0, 0),
    ("runbindable", 0, 0, 0, 0, 0, 0, ms::UNBINDABLE | ms::REC),
    ("rw", 0, attr::RDONLY, 0, 0, 0, ms::RDONLY, 0),
    ("shared", 0, 0, 0, 0, 0, 0, ms::SHARED),
    ("silent", 0, 0, 0, 0, ms::SILENT, 0, 0),
    ("slave", 0, 0, 0, 0, 0, 0, ms::SLAVE),
    ("strictatime", attr::STRICTATIME, attr::ATIME, 0, 0, 0, 0, 0),
    ("suid", 0, attr::NOSUID, 0, 0, 0, 0, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW, 0, 0, 0, 0, 0),
    ("sync", 0, 0, 0, 0, ms::SYNCHRONOUS, 0, 0),
    ("unbindable", 0, 0, 0, 0, 0, 0, ms::UNBINDABLE),
];

#[test]
fn every_option_alone() {
    for &(name, attr_set, attr_clr, rec_attr_set, rec_attr_clr, set, clear, propagation) in ALONE {
        let want = MountOptions {
            attr_set,
            attr_clr,
            rec_attr_set,
            rec_attr_clr,
            ms_flags: (set, clear),
            propagation: if propagation == 0 { vec![] } else { vec![propagation] },
            ..MountOptions::default()
        };
        assert_eq!(parse(name), want, "{name}");
    }
    type Change = fn(&mut MountOptions);
    let others: [(&str, Change); 9] = [
        ("bind", |o| o.bind = true),
        ("rbind", |o| (o.bind, o.recursive_bind) = (true, true)),
        ("remount", |o| o.remount = true),
        ("tmpcopyup", |o| o.copy_up = true),
        ("idmap", |o| o.idmap = Some(Idmap { recursive: false })),
        ("ridmap", |o| o.idmap = Some(Idmap { recursive: true })),
        ("copy-symlink", |o| o.copy_symlink = true),
        ("src-nofollow", |o| o.src_nofollow = true),
        ("dest-nofollow", |o| o.dest_nofollow = true),
    ];
    for (name, change) in others {
        let mut want = MountOptions::default();
        change(&mut want);
        assert_eq!(parse(name), want, "{name}");
    }
    // No option of the table is left out of this test.
    let mut tested: Vec<&str> = ALONE.iter().map(|row| row.0).chain(others.map(|(name, _)| name)).collect();
    tested.sort_unstable();
    assert_eq!(tested, names().collect::<Vec<_>>());
}

#[test]
fn the_last_one_wins() {
    for (a, b) in [
        ("ro", "rw"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
        ("sync", "async"),
        ("mand", "nomand"),
        ("nodiratime", "diratime"),
        ("iversion", "noiversion"),
        ("lazytime", "nolazytime"),
        ("silent", "loud"),
        ("nosymfollow", "symfollow"),
        ("idmap", "ridmap"),
        ("noatime", "strictatime"),
        ("noatime", "relatime"),
        ("strictatime", "relatime"),
        ("noatime", "atime"),
        ("strictatime", "nostrictatime"),
        ("rro", "rrw"),
        ("rnosuid", "rsuid"),
        ("rnodev", "rdev"),
        ("rnoexec", "rexec"),
        ("rnodiratime", "rdiratime"),
        ("rnosymfollow", "rsymfollow"),
        ("rnoatime", "rstrictatime"),
        ("rnoatime", "rrelatime"),
        ("rnoatime", "ratime"),
        ("rstrictatime", "rnostrictatime"),
    ] {
        assert_eq!(parse(&format!("{a},{b}")), parse(b), "{a},{b}");
        assert_ne!(parse(a), parse(b), "{a} and {b} are not the same");
        // The negations of an atime mode only undo that mode.
        if !b.ends_with("nostrictatime") && b != "atime" && b != "ratime" {
            assert_eq!(parse(&format!("{b},{a}")), parse(a), "{b},{a}");
        }
    }
}

#[test]
fn atime_modes_are_undone_only_by_their_own_negation() {
    assert_eq!(parse("strictatime,atime"), parse("strictatime"));
    assert_eq!(parse("noatime,nostrictatime"), parse("noatime"));
    assert_eq!(parse("noatime,norelatime"), parse("noatime"));
    assert_eq!(parse("relatime,norelatime"), parse("norelatime"));
    assert_eq!(parse("atime,noatime"), parse("noatime"));
    assert_eq!(parse("rstrictatime,ratime"), parse("rstrictatime"));
}

#[test]
fn mount_setattr_never_gets_half_an_atime_field() {
    let all: Vec<&str> = names().collect();
    for a in &all {
        for b in &all {
            let o = MountOptions::parse(&[a, b]);
            for (set, clr) in [(o.attr_set, o.attr_clr), (o.rec_attr_set, o.rec_attr_clr)] {
                let field = clr & attr::ATIME;
                assert!(field == 0 || field == attr::ATIME, "{a},{b}");
                assert!(set & attr::ATIME == 0 || field == attr::ATIME, "{a},{b}");
                assert_eq!(set & clr & !attr::ATIME, 0, "{a},{b}");
            }
        }
    }
}

#[test]
fn rbind_is_not_taken_back() {
    assert_eq!(parse("rbind,bind"), parse("rbind"));
    assert_eq!(parse("bind,rbind"), parse("rbind"));
}

#[test]
fn the_rest_is_data_in_order() {
    let o = parse("nosuid,size=64k,,mode=755,RO,bind ,defaults");
    assert_eq!(o.data, ["size=64k", "mode=755", "RO", "bind "]);
    assert!(!o.bind && o.attr_set == attr::NOSUID);
}

#[test]
fn propagation_keeps_its_order() {
    assert_eq!(parse("rslave,shared").propagation, [ms::SLAVE | ms::REC, ms::SHARED]);
    assert_eq!(propagation("runbindable"), Some(ms::UNBINDABLE | ms::REC));
    assert_eq!(propagation("ro"), None);
    assert_eq!(propagation("x"), None);
}

#[test]
fn one_word_for_mount_2() {
    for (options, want) in [
        ("rbind,ro,nosuid", ms::BIND | ms::REC | ms::RDONLY | ms::NOSUID),
        ("nosuid,noexec,nodev", ms::NOSUID | ms::NOEXEC | ms::NODEV),
        ("noatime,nodiratime", ms::NOATIME | ms::NODIRATIME),
        ("noatime,strictatime", ms::STRICTATIME),
        ("relatime", ms::RELATIME),
        ("remount,rw,sync", ms::REMOUNT | ms::SYNCHRONOUS),
        ("nosymfollow,rro,shared,size=1", ms::NOSYMFOLLOW),
        ("", 0),
    ] {
        assert_eq!(parse(options).classic(), want, "{options}");
    }
}

#[test]
fn read_only_can_be_taken_out() {
    for (options, readonly) in [
        ("ro", true),
        ("rro", true),
        ("rw,rro", true),
        ("rro,ro", true),
        ("", false),
        ("rw", false),
        ("ro,rw", false),
        ("rro,rrw", false),
        // On a mount with nothing below the recursive one is applied last.
        ("ro,rrw", false),
    ] {
        let mut o = parse(&format!("{options},nosuid,rnoexec"));
        assert_eq!(o.take_readonly(), readonly, "{options}");
        assert_eq!((o.attr_set, o.rec_attr_set), (attr::NOSUID, attr::NOEXEC), "{options}");
        assert_eq!(o.classic() & ms::RDONLY, 0, "{options}");
    }
}

#[test]
fn options_joined_in_one_string_are_data() {
    for (option, known) in
        [("nosuid,ro", true), ("size=1,bind", true), ("size=1,mode=700", false), ("ro", false)]
    {
        assert_eq!(joins_known(option), known, "{option}");
    }
    let o = MountOptions::parse(&["nosuid,ro"]);
    assert_eq!((o.attr_set, o.data), (0, vec!["nosuid,ro".to_owned()]));
}
