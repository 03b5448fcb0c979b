"""HTML reports and the plots in them; also what the terminal and Dagster show of outcomes."""
