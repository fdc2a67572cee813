//! temp
use crate::support::service::TestService;
#[tokio::test(flavor = "multi_thread")]
async fn look() {
    let service = TestService::start().await;
    std::fs::write("/tmp/edge-url", &service.replica.base_url).expect("written");
    while !std::path::Path::new("/tmp/edge-stop").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
