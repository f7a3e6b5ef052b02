//! A suite of WebSocket cases, such as Autobahn's, between a client and a server of another make with the
//! proxy in between: fragments, control frames among them, close codes, compression, large messages.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::apps::App;
use crate::support::proxy::Proxy;

fn proxy(app: &App, upstream: &str) -> Proxy {
    Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nstore: memory\nlisteners:\n  - address: 127.0.0.1:0\n  \
         - {{ address: 127.0.0.1:0, tls: {{ self_signed: true }} }}\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}]{upstream} }} }}\n\
         servers: [{{ names: [a.example], routes: [{{ path: /, upstream: app }}] }}]\n",
        app.address
    ))
}

async fn talked(url: String) -> Value {
    let command = move || {
        Command::new("node")
            .args(["websockets.js", "talk", &url])
            .current_dir(App::directory())
            .output()
            .expect("node can be started")
    };
    let output = tokio::task::spawn_blocking(command).await.expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_web_sockets_say_passes_both_ways() {
    let app = App::start("websockets", &[]);
    let proxy = proxy(&app, "");
    let expected = json!({
        "sizes": "",
        "compressed": "permessage-deflate",
        "fragments": [65, 4],
        "one_byte_at_a_time": "slowly",
        "pings": [0, 1, 125, "from the server", true],
        "codes": ["1000 bye", "1001 bye", "1011 bye", "3000 bye", "4999 bye", "4001 asked for"],
        "dropped": 1006,
        "violations": [1002, 1002, 1002, 1007],
        "many": 2000,
    });
    for (scheme, address) in [("ws", proxy.addresses()[0]), ("wss", proxy.addresses()[1])] {
        assert_eq!(talked(format!("{scheme}://{address}/")).await, expected, "{scheme}");
    }
}
