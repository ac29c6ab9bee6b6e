"""An audit trail: who did what when, in lines that nobody changes or removes unnoticed."""
