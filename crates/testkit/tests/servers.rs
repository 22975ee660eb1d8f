//! The throwaway servers are real, come back after a crash, and leave nothing behind.

use std::{
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use testkit::{Persistence, Postgres, PostgresOptions, Redis, fresh_database, wait_for_blocking};

#[test]
fn a_killed_postgres_comes_back_with_its_data_on_the_same_port() {
    let mut postgres = Postgres::start();
    let url = postgres.url();
    postgres.sql("postgres", "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)");
    postgres.kill();
    postgres.restart();
    assert_eq!(postgres.sql("postgres", "SELECT n FROM kept"), "7");
    assert_eq!(postgres.url(), url);
    postgres.stop();
    postgres.restart();
    assert_eq!(postgres.sql("postgres", "SELECT n FROM kept"), "7");
}

#[test]
fn postgres_is_durable_unless_asked_otherwise() {
    assert_eq!(Postgres::shared().sql("postgres", "SHOW fsync"), "on");
    let settings = vec![("synchronous_commit".into(), "off".into())];
    let fast = Postgres::start_with(PostgresOptions { settings });
    assert_eq!(fast.sql("postgres", "SHOW synchronous_commit"), "off");
}

#[test]
fn fresh_databases_are_apart() {
    assert_ne!(fresh_database(), fresh_database());
}

#[test]
fn a_redis_keeps_what_its_persistence_says() {
    let mut redis = Redis::start_with(Persistence::AofEverySecond);
    redis.command(&["SET", "key", "value"]);
    redis.restart();
    assert_eq!(redis.command(&["GET", "key"]), "value");
    redis.restart_empty();
    assert_eq!(redis.command(&["EXISTS", "key"]), "0");
}

#[test]
fn a_paused_redis_goes_on_where_it_stood() {
    let redis = Redis::start();
    redis.command(&["SET", "key", "value"]);
    redis.pause();
    redis.resume();
    assert_eq!(redis.command(&["GET", "key"]), "value");
}

#[test]
fn a_dropped_server_is_gone() {
    let redis = Redis::start();
    let port = redis.port();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(redis);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// Only does something as the child of the next test.
#[test]
fn child_that_is_killed() {
    if std::env::var_os("TESTKIT_CHILD").is_some() {
        println!("port={}", Redis::shared().port());
        println!("port={}", Postgres::shared().port());
        std::thread::park();
    }
}

#[test]
fn servers_die_with_a_test_process_that_is_killed() {
    use std::io::{BufRead as _, BufReader};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture"])
        .env("TESTKIT_CHILD", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ports: Vec<u16> =
        lines.filter_map(|line| line.split_once("port=")?.1.trim().parse().ok()).take(2).collect();
    assert_eq!(ports.len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    for port in ports {
        wait_for_blocking("the server to die", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).err()
        });
    }
}
