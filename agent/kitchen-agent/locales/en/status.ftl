# The screen of `kitchen-agent status`.
status-up = up { $time }
