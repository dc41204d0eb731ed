//! What can be said without anybody at the other end: help, mistakes, the configuration.

use std::fs;

use crate::harness::{Place, end, syncline};

#[test]
fn every_command_has_a_help_with_an_example() {
    let all = end(syncline(&["--help"])).is(0);
    for code in [
        "0  done",
        "1  failed",
        "2  wrong",
        "3  done",
        "4  the state",
    ] {
        assert!(all.out.contains(code), "{}", all.out);
    }
    for command in [
        &["run"][..],
        &["check"],
        &["status"],
        &["backfill"],
        &["pending"],
        &["dead-letters"],
        &["config", "show"],
        &["contract", "export"],
        &["contract", "check"],
        &["sandbox"],
    ] {
        let name = command.first().unwrap();
        assert!(all.out.contains(&format!("  {name}")), "{name}");
        let help = end(syncline(&[command, &["--help"]].concat())).is(0);
        assert!(
            help.out.contains("Example:\n  "),
            "{command:?}: {}",
            help.out
        );
    }
    end(syncline(&["--version"])).is(0).prints("syncline 0.");
}

#[test]
fn wrong_usage_ends_with_2() {
    end(syncline(&[])).is(2);
    end(syncline(&["rum"])).is(2).says("'run'");
    end(syncline(&["run", "--set", "nothing"]))
        .is(2)
        .says("write it as key=value");
    end(syncline(&["pending", "retry"])).is(2);
    end(syncline(&["sandbox", "--faults", "nonsense=1%"]))
        .is(2)
        .says("unknown fault nonsense");
}

#[test]
fn an_unknown_key_is_told_with_file_and_line() {
    let place = Place::bare("postgres://u@127.0.0.1:1/d", "unknown_key");
    place.edit("slot = ", "wal_buget = \"1GiB\"\nslot = ");
    let path = place.config_path();
    for command in [&["run"][..], &["check"], &["status"], &["config", "show"]] {
        place
            .cli(command)
            .is(2)
            .says(&format!("error: {}:3: ", path.display()))
            .says("unknown key source.wal_buget; did you mean \"wal_budget\"?");
    }
    assert!(!place.dir.path().join("state").exists());
}

#[test]
fn a_missing_configuration_is_told() {
    end(syncline(&["run", "--config", "/nowhere/config.toml"]))
        .is(2)
        .says("error: cannot read the configuration /nowhere/config.toml")
        .says("\n  → ");
}

#[test]
fn config_show_masks_secrets_and_names_origins() {
    let place = Place::bare("postgres://u:pass-w0rd@127.0.0.1:1/d", "show");
    let mut command = place.command(&["config", "show", "--set", "delivery.max_rows=7"]);
    command.env("SYNCLINE_DESTINATION__CLIENT_SECRET", "s3cret-value");
    command.env("SYNCLINE_ADMIN__TOKEN", "t0ken-value");
    let shown = end(command).is(0);
    assert!(!shown.out.contains("pass-w0rd") && !shown.out.contains("-value"));
    let shown = shown
        .prints("max_rows = 7")
        .prints("# command line")
        .prints("# SYNCLINE_DESTINATION__CLIENT_SECRET")
        .prints("config.toml:3")
        .prints("# default");
    drop(shown);
    let json = place.cli(&["config", "show", "--json"]).is(0).json();
    assert_eq!(
        json["source.url"]["value"],
        "postgres://u:***@127.0.0.1:1/d"
    );
    assert_eq!(json["delivery.max_rows"]["from"], "default");
}

#[test]
fn an_empty_token_is_refused() {
    let place = Place::bare("postgres://u@127.0.0.1:1/d", "token");
    place.edit("listen = ", "token = \"\"\nlisten = ");
    place.run_fails().is(2).says("error: admin.token is empty");
}

#[test]
fn a_taken_address_is_told() {
    let place = Place::bare("postgres://u@127.0.0.1:1/d", "taken");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    place.edit("127.0.0.1:0", &address);
    place.run_fails().is(1).says(&format!(
        "error: another process listens on {address} already"
    ));
    place.edit(&address, "192.0.2.1:1");
    place
        .run_fails()
        .is(2)
        .says("error: the admin interface cannot listen on \"192.0.2.1:1\"");
}

#[test]
fn nothing_has_run_yet() {
    let place = Place::bare("postgres://u@127.0.0.1:1/d", "nothing");
    let status = place.cli(&["status"]).is(0).prints("not running");
    assert!(status.out.contains("cannot be looked at"), "{}", status.out);
    place.cli(&["status", "--check"]).is(3);
    place
        .cli(&["dead-letters", "list"])
        .is(0)
        .prints("Nothing is pending.");
    place
        .cli(&["dead-letters", "show", "Account", "1"])
        .is(1)
        .says("nothing is pending for Account 1 as dead letter");
    place
        .cli(&["pending", "retry", "--all"])
        .is(1)
        .says("only a running syncline can write to the CRM");
    // Looking makes nothing.
    assert!(!place.dir.path().join("state").exists());
    fs::create_dir(place.dir.path().join("state")).unwrap();
    place.cli(&["status"]).is(0).prints("not running");
}
