//! stub
pub const TENANT_SCHEMA_VERSION: i32 = 4;
#[derive(Clone, Debug)]
pub struct Pool {
    c: bb8::Pool<bb8_postgres::PostgresConnectionManager<tokio_postgres::NoTls>>,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct PoolError;
pub struct PoolState {
    pub open: u32,
    pub idle: u32,
}
impl Pool {
    pub async fn get(
        &self,
    ) -> Result<
        bb8::PooledConnection<'_, bb8_postgres::PostgresConnectionManager<tokio_postgres::NoTls>>,
        PoolError,
    > {
        self.c.get().await.map_err(|_| PoolError)
    }
    pub fn state(&self) -> PoolState {
        PoolState { open: 0, idle: 0 }
    }
}
