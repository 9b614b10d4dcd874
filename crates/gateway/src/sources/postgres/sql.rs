//! The SQL of an outbox: the script that `gateway outbox-sql` prints, and the statements of a turn.
//!
//! All SQL is in one place, so that the table that operators create and the statements that read it
//! cannot drift apart.

use super::table::{OutboxTable, literal, quoted};

/// The channel on which the optional trigger announces new rows.
pub(super) const WAKE_UP_CHANNEL: &str = "throughline_outbox";

/// The trigger that wakes the gateway up, if the table has it.
const WAKE_UP_TRIGGER: &str = "throughline_wake_up";

/// The upper half of the advisory lock's key: `thro` in ASCII. The lower half is the table's object
/// id.
const LOCK_SPACE: i64 = 0x7468_726f_0000_0000;

/// The arguments of `gateway outbox-sql`.
#[derive(Clone, Debug)]
pub struct OutboxSql {
    /// The table.
    pub(crate) table: OutboxTable,
    /// The role of the gateway's connection, if the script grants it its privileges.
    pub(crate) gateway_role: Option<String>,
    /// Whether to create the trigger that wakes the gateway up.
    pub(crate) wake_up: bool,
}

impl OutboxSql {
    /// The script: idempotent, in one transaction, for `psql` or a migration.
    #[must_use]
    pub fn script(&self) -> String {
        let mut script = self.table_and_function();
        if self.wake_up {
            script += &self.wake_up_trigger();
        }
        let role = self.gateway_role.as_deref();
        let grants = self.grants(role.unwrap_or("gateway"));
        if role.is_some() {
            script += &grants;
        } else {
            script += "\n-- The gateway needs these rights, if its role does not own the table:";
            script += &grants.replace('\n', "\n--   ").replace("\n--   \n", "\n");
        }
        script.trim_end().to_owned() + "\n\ncommit;\n"
    }

    fn table_and_function(&self) -> String {
        let (table, publish) = (self.table.quoted(), self.table.beside("throughline_publish"));
        format!(
            r#"-- The outbox of Throughline: a row is an event, published once its transaction has committed.
begin;

-- `json`, not `jsonb`, keeps `data` byte for byte. The sequence of `id` must keep its cache of 1.
create table if not exists {table} (
  id bigint generated always as identity primary key,
  draft json not null,
  at timestamptz not null default clock_timestamp(),
  error text
);
comment on column {table}.error is 'why the gateway refused the draft; null: not published yet';

-- Each row is deleted soon after it was inserted: vacuum often.
alter table {table} set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- select throughline_publish('user:alice', 'progress', '{{"percent": 45}}'), inside the transaction of the row that
-- the event is about. Any other member of a draft: insert into the table itself.
create or replace function {publish}(topic text, type text, data json, key text default null)
returns bigint language sql volatile as $$
  insert into {table} (draft)
  values (json_build_object('topic', $1, 'type', $2, 'data', $3, 'key', $4))
  returning id
$$;
"#
        )
    }

    /// The trigger fires once per statement. The notification is a hint without content, and
    /// PostgreSQL merges equal notifications of a transaction.
    fn wake_up_trigger(&self) -> String {
        let (table, wake_up) = (self.table.quoted(), self.table.beside("throughline_wake_up"));
        let trigger = quoted(WAKE_UP_TRIGGER);
        format!(
            r"
-- Wakes the gateway up at each commit. PostgreSQL commits transactions with NOTIFY one after the other.
create or replace function {wake_up}() returns trigger language plpgsql as $$
begin
  perform pg_notify('{WAKE_UP_CHANNEL}', '');
  return null;
end
$$;
drop trigger if exists {trigger} on {table};
create trigger {trigger} after insert on {table}
  for each statement execute function {wake_up}();
"
        )
    }

    fn grants(&self, role: &str) -> String {
        let (schema, table, role) = (quoted(self.table.schema()), self.table.quoted(), quoted(role));
        format!(
            "\ngrant usage on schema {schema} to {role};\ngrant select, delete, update (error) on {table} to {role};\n"
        )
    }
}

/// The statements of a turn, for one table.
pub(super) struct Statements {
    /// Begins the turn's transaction and tries to lock the outbox: `t` if no other gateway has its
    /// turn. For `simple_query`.
    pub(super) begin: String,
    /// Reads the oldest rows. `$1`: the floor, `$2`: most rows, `$3`: most bytes of one draft,
    /// `$4`: approximate bytes of all drafts. Gives `id`, `draft` (null: too large), `micros` of
    /// `at` and of `now`.
    pub(super) take: String,
    /// Deletes the rows with the ids `$1`.
    pub(super) delete: String,
    /// Sets the errors `$2` of the rows with the ids `$1`.
    pub(super) reject: String,
    /// The transactions that write into the table now.
    pub(super) writers: String,
    /// Counts the waiting rows from id `$1` on, up to `$2`.
    pub(super) count: String,
    /// Whether the table has the trigger that wakes gateways up.
    pub(super) wakes: String,
}

impl Statements {
    pub(super) fn of(table: &OutboxTable) -> Self {
        let (name, of_table) = (table.quoted(), format!("{}::regclass", literal(&table.quoted())));
        Self {
            // The server ends the transaction of a frozen gateway, so that another gateway gets its
            // turn. The other two limits bound the cost of a lock on the table, and of the table
            // itself.
            begin: format!(
                "begin isolation level read committed; \
                 set local idle_in_transaction_session_timeout = '15s'; \
                 set local statement_timeout = '20s'; set local lock_timeout = '5s'; \
                 select pg_try_advisory_xact_lock({LOCK_SPACE} | {of_table}::oid::bigint)"
            ),
            // The sizes of waiting rows are summed in the order of their ids. Rows that are too
            // large count as 0, because they are not sent. `convert_to` gives UTF-8 for any
            // encoding of the database.
            take: format!(
                "select id, case when size <= $3 then draft end as draft, micros, now from ( \
                   select id, draft, size, micros, now, \
                     coalesce(sum(case when size <= $3 then size else 0 end) over before, 0) as bytes_before \
                   from ( \
                     select id, convert_to(draft::text, 'UTF8') as draft, octet_length(draft::text) as size, \
                       case when isfinite(at) then (extract(epoch from at) * 1000000)::bigint else 0 end as micros, \
                       (extract(epoch from clock_timestamp()) * 1000000)::bigint as now \
                     from {name} where error is null and id >= $1 order by id limit $2 \
                   ) as oldest \
                   window before as (order by id rows between unbounded preceding and 1 preceding) \
                 ) as counted where bytes_before < $4 order by id"
            ),
            delete: format!("delete from {name} where id = any($1)"),
            reject: format!(
                "update {name} as outbox set error = refused.error \
                 from unnest($1::bigint[], $2::text[]) as refused(id, error) where outbox.id = refused.id"
            ),
            writers: format!(
                "select distinct virtualtransaction from pg_locks \
                 where locktype = 'relation' and relation = {of_table} and mode = 'RowExclusiveLock' and granted \
                   and database = (select oid from pg_database where datname = current_database()) \
                   and pid is distinct from pg_backend_pid()"
            ),
            count: format!(
                "select count(*) from (select from {name} where error is null and id >= $1 limit $2) as waiting"
            ),
            wakes: format!(
                "select exists (select from pg_trigger where tgrelid = {of_table} \
                 and tgname = {} and tgenabled <> 'D')",
                literal(WAKE_UP_TRIGGER)
            ),
        }
    }
}
