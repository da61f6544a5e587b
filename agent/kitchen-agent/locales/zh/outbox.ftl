# `kitchen-agent outbox`。
outbox-empty = 没有待发消息：平台已全部收到
outbox-unknown = 待发队列中没有以 { $id } 开头的消息：已收到回执或已放弃；请用 kitchen-agent outbox list 查看
outbox-ambiguous = 有多条消息以 { $id } 开头：请输入更完整的编号
outbox-created = { $time } 入队，{ $bytes } 字节
outbox-set-aside = 已搁置：{ $reason }
outbox-sent = 已发 { $attempts } 次，尚无回执；{ $seconds } 秒内重发
outbox-waiting = 等待发送
outbox-requeued = { $id } 已重新排队，轮到时即发送
outbox-dropped = 已放弃 { $id }；平台会得知该消息不会再来
