# `kitchen-agent log`。
log-no-journalctl = 无法运行 journalctl（{ $error }）：日志在启动程序的终端上，请到那里查看
log-no-journal = 无法读取日志（{ $said }）：请加 sudo 运行，并查看 systemctl status kitchen-agent
log-empty = 没有日志；可用 --since 或更低的 --level 扩大范围
log-unreadable = 无法读取日志
log-unreadable-next = 用 journalctl -u kitchen-agent 查看
