"""What `subledger doctor` looks at, one file for each thing around us; `attach` looks at some of it first."""
