//! A session like a committer's whose statements tell how they were executed.
//!
//! The very statement runs with real parameters; `auto_explain` sends its plan as a notice.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tillside::commit::probe;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// The session.
pub(crate) struct Explaining {
    pub(crate) client: Client,
    notices: Arc<Mutex<Vec<String>>>,
}

/// A plan as it was executed.
#[derive(Clone, Debug)]
pub(crate) struct Plan(Value);

impl Explaining {
    /// Connects and sets the session up as a committer's.
    pub(crate) async fn connect(url: &str) -> Self {
        let (client, mut connection) =
            tokio_postgres::connect(url, NoTls).await.expect("a connection");
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notice(notice) = message {
                    let text = notice.message().to_owned();
                    sink.lock().expect("nobody panics with it").push(text);
                }
            }
        });
        client.batch_execute("LOAD 'auto_explain'").await.expect("PostgreSQL comes with it");
        for (name, value) in probe::SESSION.iter().copied().chain([
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_buffers", "on"),
            ("auto_explain.log_timing", "off"),
            ("auto_explain.log_format", "json"),
            ("auto_explain.log_level", "notice"),
        ]) {
            client.batch_execute(&format!("SET {name} = {value}")).await.expect("a setting");
        }
        Self { client, notices }
    }

    /// Has the statement planned for its parameters each time, or once for all.
    pub(crate) async fn plan_for_parameters(&self, each_time: bool) {
        let mode = if each_time { "force_custom_plan" } else { "force_generic_plan" };
        let set = format!("DEALLOCATE ALL; SET plan_cache_mode = {mode}");
        self.client.batch_execute(&set).await.expect("a setting");
    }

    /// Runs something and returns the plan of its one statement.
    pub(crate) async fn plan_of(&self, run: impl AsyncFnOnce(&Client)) -> Plan {
        self.duration("0").await;
        self.notices.lock().expect("nobody panics with it").clear();
        run(&self.client).await;
        let mut notices = std::mem::take(&mut *self.notices.lock().expect("nobody panics with it"));
        self.duration("-1").await;
        assert_eq!(notices.len(), 1, "{notices:?}");
        let notice = notices.remove(0);
        let (_, json) = notice.split_once("plan:\n").expect("auto_explain's words");
        let mut explained: Value = serde_json::from_str(json).expect("JSON was asked for");
        Plan(explained["Plan"].take())
    }

    async fn duration(&self, least: &str) {
        let set = format!("SET auto_explain.log_min_duration = {least}");
        self.client.batch_execute(&set).await.expect("a setting");
    }
}

impl Plan {
    /// What `EXPLAIN (FORMAT JSON)` says.
    pub(crate) fn parse(json: &str) -> Self {
        let mut explained: Value = serde_json::from_str(json).expect("JSON was asked for");
        Self(explained[0]["Plan"].take())
    }

    /// Every node, outermost first.
    fn nodes(&self) -> Vec<&Value> {
        fn collect<'a>(node: &'a Value, into: &mut Vec<&'a Value>) {
            into.push(node);
            for child in node["Plans"].as_array().into_iter().flatten() {
                collect(child, into);
            }
        }
        let mut nodes = Vec::new();
        collect(&self.0, &mut nodes);
        nodes
    }

    /// What each node is and what it reads, one a line, indented: equal for equal plans. Left out
    /// is `Result`, which only asks a condition that a plan for known parameters has answered.
    pub(crate) fn shape(&self) -> String {
        fn write(node: &Value, depth: usize, into: &mut String) {
            let text = |field: &str| node[field].as_str().unwrap_or_default();
            let subject =
                ["Index Name", "Relation Name", "CTE Name", "Function Name", "Subplan Name"]
                    .map(text)
                    .into_iter()
                    .find(|name| !name.is_empty())
                    .unwrap_or_default();
            let counts = text("Node Type") != "Result";
            if counts {
                into.push_str(&"  ".repeat(depth));
                into.push_str(format!("{} {subject}", text("Node Type")).trim_end());
                into.push('\n');
            }
            for child in node["Plans"].as_array().into_iter().flatten() {
                write(child, depth + usize::from(counts), into);
            }
        }
        let mut shape = String::new();
        write(&self.0, 0, &mut shape);
        shape
    }

    /// Fails unless every table is read by keys: no scan of a whole table or index, and no join
    /// that would read one side completely.
    pub(crate) fn assert_by_keys(&self, when: &str) {
        for node in self.nodes() {
            let kind = node["Node Type"].as_str().expect("every node has one");
            let bad = matches!(kind, "Seq Scan" | "Hash Join" | "Merge Join" | "Hash")
                || (kind.starts_with("Index") && node["Index Cond"].is_null())
                || kind.starts_with("Bitmap");
            assert!(!bad, "{when}: {kind} in\n{}", self.shape());
        }
    }

    /// Pages that were looked at or changed, in all parts of the statement.
    pub(crate) fn pages(&self) -> i64 {
        // What other parts than the outermost one wrote is not counted in the outermost node.
        let parts = self.0["Plans"].as_array().into_iter().flatten();
        let parts: Vec<&Value> = parts
            .filter(|part| {
                part["Subplan Name"].as_str().is_some_and(|name| name.starts_with("CTE "))
            })
            .collect();
        let parts = if parts.is_empty() { vec![&self.0] } else { parts };
        let fields = ["Shared Hit Blocks", "Shared Read Blocks", "Shared Dirtied Blocks"];
        parts
            .iter()
            .flat_map(|part| fields.map(|field| part[field].as_i64().expect("buffers are on")))
            .sum()
    }

    /// Rows that all nodes handed on or looked at in vain.
    pub(crate) fn rows(&self) -> i64 {
        let number = |node: &Value, field: &str| node[field].as_f64().unwrap_or(0.0);
        let rows = |node: &&Value| {
            let removed = number(node, "Rows Removed by Filter")
                + number(node, "Rows Removed by Join Filter");
            (number(node, "Actual Rows") + removed) * number(node, "Actual Loops")
        };
        #[expect(clippy::cast_possible_truncation, reason = "counts of rows are far below that")]
        let rows = self.nodes().iter().map(rows).sum::<f64>() as i64;
        rows
    }

    /// How often the index of a table was searched.
    pub(crate) fn searches(&self, index: &str) -> i64 {
        let loops = |node: &&Value| node["Actual Loops"].as_i64().unwrap_or(0);
        self.nodes().iter().filter(|node| node["Index Name"] == index).map(loops).sum()
    }
}
