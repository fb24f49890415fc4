-- migrate:up

-- A first invoice may bill more than a trial: a setup fee.

alter table stripe.invoices add column trial_lines_end timestamptz;
comment on column stripe.invoices.trial_lines_end is
  'The latest end among the lines that bill nothing for a price that costs something: of a first invoice, the end of the trial. NULL: there is no such line, or the invoice was read last before this was mirrored.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
