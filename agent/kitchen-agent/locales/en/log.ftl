# `kitchen-agent log`.
log-no-journalctl = can't run journalctl ({ $error }): look where the agent was started from, it logs to stderr there
log-no-journal = the journal can't be read ({ $said }): run it with sudo, and check systemctl status kitchen-agent
log-empty = no entries; ask for more with --since or a lower --level
log-unreadable = the journal's answer can't be read
log-unreadable-next = look with journalctl -u kitchen-agent
