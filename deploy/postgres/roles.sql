-- The roles and the database of Subledger, with no right beyond what they need. An administrator runs it once, in one
-- command (docs/deploy.md); it may be run again, also for a database that is there already:
--
--   psql "$ADMIN_URL" -v ON_ERROR_STOP=1 -v owner_password=... -f deploy/postgres/roles.sql
--
-- Other names: -v database=... -v owner=... A login for a service that reads: -v reader=reports -v reader_password=...

\if :{?database} \else \set database billing \endif
\if :{?owner} \else \set owner billing_owner \endif
\if :{?owner_password} \else
\set ON_ERROR_STOP on
do $$ begin raise exception 'give -v owner_password=...'; end $$;
\endif

set client_min_messages = warning;
select format('create role %I login', :'owner')
where not exists (select from pg_roles where rolname = :'owner') \gexec
select format('create role %I nologin', name) from unnest(array['billing_reader', 'billing_raw']) as name
where not exists (select from pg_roles where rolname = name) \gexec
alter role :"owner" nosuperuser nocreatedb nocreaterole noreplication nobypassrls password :'owner_password';
select format('create database %I owner %I', :'database', :'owner')
where not exists (select from pg_database where datname = :'database') \gexec
revoke connect, temporary on database :"database" from public;
grant connect on database :"database" to billing_reader, billing_raw;
-- For `subledger psql --reader`.
grant billing_reader to :"owner";

\if :{?reader}
select format('create role %I login', :'reader')
where not exists (select from pg_roles where rolname = :'reader') \gexec
alter role :"reader" nosuperuser nocreatedb nocreaterole noreplication nobypassrls password :'reader_password';
grant billing_reader to :"reader";
\endif
