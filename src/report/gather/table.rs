//! The tables of a build, as what was gathered is written into them.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, RowStream};

use crate::report::ReportError;

/// Where statements go: within a transaction that has the build locked.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Table<'a> {
    pub(in crate::report) client: &'a Client,
    /// Quoted.
    pub(in crate::report) schema: &'a str,
    pub(in crate::report) build: i32,
    /// Of what is looked up no more is held at a time than about this, unless one row alone is more.
    pub(in crate::report) held_bytes: usize,
    /// So many times that answers to an item took may be kept as they came.
    pub(in crate::report) loose_times: u32,
}

/// A statement's parameters, with their types: it has no name, and needs no answer of the server before it is sent.
type Columns<'a> = [(&'a (dyn ToSql + Sync), Type)];

impl Table<'_> {
    pub(in crate::report) fn sql(&self, statement: &str) -> String {
        statement.replace("{schema}", self.schema).replace("{build}", &self.build.to_string())
    }

    pub(super) async fn query(
        &self,
        statement: &str,
        columns: &Columns<'_>,
    ) -> Result<Vec<Row>, ReportError> {
        Ok(self.client.query_typed(&self.sql(statement), columns).await?)
    }

    /// The same, a row after the other: the connection waits for whoever reads them.
    pub(super) async fn stream(
        &self,
        statement: &str,
        columns: &Columns<'_>,
    ) -> Result<RowStream, ReportError> {
        let columns = columns.iter().map(|(column, kind)| (*column, kind.clone()));
        Ok(self.client.query_typed_raw(&self.sql(statement), columns).await?)
    }

    /// A statement that touches as many rows as its columns are long; where that is none it is not sent.
    ///
    /// # Errors
    /// It touched others: the rows were moved or written although the build is locked.
    pub(super) async fn write_all(
        &self,
        statement: &str,
        rows: usize,
        columns: &Columns<'_>,
    ) -> Result<(), ReportError> {
        if rows == 0 {
            return Ok(());
        }
        let touched = self.client.execute_typed(&self.sql(statement), columns).await?;
        match usize::try_from(touched) == Ok(rows) {
            true => Ok(()),
            false => Err(ReportError::unreadable("rows were moved while they were written")),
        }
    }

    /// A statement whose rows nobody counts.
    pub(super) async fn write(&self, statement: &str, columns: &Columns<'_>) -> Result<(), ReportError> {
        self.client.execute_typed(&self.sql(statement), columns).await?;
        Ok(())
    }
}
