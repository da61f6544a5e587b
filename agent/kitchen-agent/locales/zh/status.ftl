# `kitchen-agent status` 的画面。
status-up = 已运行 { $time }
