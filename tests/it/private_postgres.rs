//! x
use crate::support::database::TestDatabase;
#[tokio::test]
async fn measure() {
    let t = std::time::Instant::now();
    let db = TestDatabase::create().await;
    eprintln!("create {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let c = db.client().await;
    eprintln!("connect {:?}", t.elapsed());
    drop(c);
    let t = std::time::Instant::now();
    let db2 = TestDatabase::create().await;
    eprintln!("second create {:?}", t.elapsed());
    let t = std::time::Instant::now();
    drop(db);
    eprintln!("drop {:?}", t.elapsed());
    std::mem::forget(db2);
}
