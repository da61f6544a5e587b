# `--help` 和命令行用法错误。编号：help-命令、help-命令-参数、help-命令-examples。
help-usage = 用法：
help-usage-options = [选项]
help-usage-command = <命令>
help-usage-commands = [命令]...
help-commands = 命令：
help-arguments = 参数：
help-options = 选项：
help-default = {" "}[默认：{ $value }]
help-values = {" "}[可选：{ $values }]
help-help = 显示本帮助或某个命令的帮助

help-about = 查看厨房摄像头画面，在本设备上识别食品安全违规，并上报监管平台。
help-examples =
    示例：
    {"  "}kitchen-agent demo                 用自带视频在本机完整演示
    {"  "}kitchen-agent config validate      检查 /etc/kitchen-agent/agent.toml
    {"  "}kitchen-agent status               查看程序运行情况
    {"  "}kitchen-agent replay kitchen.mp4   识别一段录像中的违规

    退出码：0 正常或完成，1 发现问题，2 无法检查，64 用法错误。
help-option-config = 配置文件 [默认：/etc/kitchen-agent/agent.toml]
help-option-json = 输出 JSON：一份文档，连续输出时每行一份
help-option-lang = 文字语言 [默认：按 LANG，否则按 device.language]
help-option-help = 显示帮助
help-option-version = 显示版本

help-demo = 在本机完整演示：消息服务、监管平台、自带视频作摄像头、真实识别流程
help-demo-seconds = 运行 N 秒后结束；没有报警得到回执时退出码为 1
help-demo-dir = 图片、视频和数据库的存放目录 [默认：新建临时目录]
help-demo-examples =
    示例：
    {"  "}kitchen-agent demo --seconds 60
help-run = 运行程序本身，由 systemd 启动
help-status = 一屏看全：摄像头、识别、规则、报警、待发送、平台连接、磁盘、版本
help-status-watch = 全屏持续刷新
help-status-examples =
    示例：
    {"  "}kitchen-agent status --watch
help-replay = 用同一流程识别录像，以最快速度处理
help-replay-files = 录像文件（MP4，H.264）
help-replay-real_time = 按录像原速处理
help-replay-detections = 打印每次识别到的目标
help-replay-out = 保存每条报警的标注图片（加 --detections 时保存每次识别的图片）
help-replay-profile = 打印各阶段耗时
help-replay-start = 录像开始时间，用于判断时段 [默认：2026-01-01 中午，北京时间]
help-replay-examples =
    示例：
    {"  "}kitchen-agent replay kitchen.mp4 --json
    {"  "}kitchen-agent replay kitchen.mp4 --detections --out pictures/ --profile
help-detect = 识别图片
help-detect-images = 图片（JPEG 或 PNG）
help-detect-model = 只用这个模型
help-detect-examples =
    示例：
    {"  "}kitchen-agent detect kitchen.jpg --json
help-model = 已安装的模型
help-model-list = 名称、版本、类别、许可证
help-model-verify = 用每种引擎核对校验值和标准结果
help-model-bench = 在本机测试各引擎速度
help-model-bench-runs = 每种引擎运行次数
help-model-eval = 用标注图片测试查准率和查全率
help-model-eval-folder = 标注图片：images/、labels/ 和 classes.txt，或每类一个文件夹
help-model-eval-model = 模型名称
help-model-eval-examples =
    示例：
      kitchen-agent model eval rats --model objects
      kitchen-agent model eval heads --model head_attributes --json

    检测模型：DIR 内有 images/、YOLO 格式的 labels/ 和 classes.txt；分类模型：每类一个文件夹。
help-alerts = 本机的报警
help-alerts-list = 报警列表，最新的在前
help-alerts-list-limit = 最多显示条数
help-alerts-show = 查看一条报警
help-alerts-show-id = 报警编号，或其开头部分
help-alerts-export = 把图片、视频和证据导出到目录，附浏览器可打开的网页，可在任何地方核验
help-alerts-export-id = 报警编号，或其开头部分
help-alerts-export-folder = 新目录或空目录
help-alerts-export-original = 同时导出原始图片（其中的人脸未作模糊处理）
help-alerts-export-examples =
    示例：
    {"  "}sudo kitchen-agent alerts export k7f3qa.17.42 /media/usb/k7f3qa.17.42

    目录用本机证据密钥签名，该密钥只有 root 和本程序可以读取。
    用 kitchen-agent verify 核验。
help-config = 配置
help-config-show = 当前生效的配置，以及每个值的来源
help-config-validate = 检查配置，列出全部错误
help-config-diff = 与默认值的差别
help-check = 逐项检查，并给出下一步
help-check-names = 一项检查（camera.view）或一组（camera）[默认：全部]
help-check-examples =
    示例：
    {"  "}kitchen-agent check
    {"  "}kitchen-agent check camera link.dns --json
help-camera = 查找、探测和查看摄像头
help-camera-discover = 查找本网络中的摄像头
help-camera-probe = 检测码流参数，并给出设置建议
help-camera-probe-camera = 地址，或已配置摄像头的编号
help-camera-probe-username = 摄像头用户名
help-camera-probe-password_file = 存有该用户密码的文件
help-camera-probe-examples =
    示例：
    {"  "}kitchen-agent camera probe stove
    {"  "}kitchen-agent camera probe rtsp://192.168.8.64/Streaming/Channels/102 --username admin --password-file 文件
help-camera-snapshot = 保存一张 JPEG 图片
help-camera-snapshot-camera = 已配置摄像头的编号 [默认：唯一的一台]
help-camera-snapshot-out = 保存到哪里
help-camera-clip = 从本机录像中截取一段 MP4
help-camera-clip-camera = 摄像头编号 [默认：唯一的一台]
help-camera-clip-from = 起点：10min（之前）、08:30、"2026-11-24 08:30:05"
help-camera-clip-to = 终点，写法相同
help-camera-clip-out = 保存到哪里
help-camera-clip-examples =
    示例：
    {"  "}kitchen-agent camera clip stove --from 08:30 --to 08:31 --out lunch.mp4
    {"  "}kitchen-agent camera clip --from 10min --to 9min
    {"  "}kitchen-agent camera clip --from '2026-11-24 08:30' --to '2026-11-24 08:30:20' --json

    最长九分钟。从起点之前的关键帧开始，画面不重新编码。
help-camera-live = 每秒刷新两次的画面，显示在终端里，或作为本机网页
help-camera-live-camera = 已配置摄像头的编号 [默认：唯一的一台]
help-camera-live-listen = 不在终端里显示，而在这个本机地址上提供网页
help-camera-live-examples =
    示例：
    {"  "}sudo kitchen-agent camera live stove
    {"  "}sudo kitchen-agent camera live stove --listen 127.0.0.1:8090

    用笔记本查看：ssh -L 8090:127.0.0.1:8090 设备，再用浏览器打开 http://127.0.0.1:8090/ 。按 Ctrl-C 结束。
help-outbox = 等待发送的消息
help-outbox-list = 按发送顺序列出等待的消息，已搁置的排在最后
help-outbox-list-limit = 最多显示条数
help-outbox-list-examples =
    示例：
    {"  "}kitchen-agent outbox list --limit 20
help-outbox-show = 查看一条消息：主题，若为 JSON 则显示内容
help-outbox-show-id = 消息编号，或其开头部分
help-outbox-show-examples =
    示例：
    {"  "}kitchen-agent outbox show k7f3qa.17.42 --json
help-outbox-requeue = 重新发送已搁置的消息
help-outbox-requeue-id = 消息编号，或其开头部分
help-outbox-requeue-examples =
    示例：
    {"  "}kitchen-agent outbox requeue k7f3qa.17.42

    尝试次数从零计起，轮到时即发送。
help-outbox-drop = 彻底放弃一条消息，并告知平台
help-outbox-drop-id = 消息编号，或其开头部分
help-outbox-drop-examples =
    示例：
    {"  "}kitchen-agent outbox drop k7f3qa.17.42

    报警、图片和视频仍留在盒子里。平台会收到一条记录，得知哪条消息不会再来。
help-budget = 本月流量和费用（元）
help-budget-year = 按目前用量推算十二个月
help-budget-what_if = 按其他用量或价格推算十二个月：alerts_per_day、clip_bytes、snapshot_bytes、yuan_per_gb、yuan_per_year
help-budget-examples =
    示例：
    {"  "}kitchen-agent budget
    {"  "}kitchen-agent budget --year
    {"  "}kitchen-agent budget --what-if alerts_per_day=50 --what-if yuan_per_gb=290

    费用精确计算；每月不超过 budget.yuan_per_year 的十二分之一。
help-enrol = 用平台下发的登记凭证为本机领取证书（只需一次）
help-enrol-first_boot = 与 kitchen-first-boot 服务相同：在启动分区和 U 盘上查找凭证，校时，并重试直到登记成功
help-enrol-examples =
    示例：
    {"  "}sudo kitchen-agent enrol
    {"  "}sudo kitchen-agent enrol --claim /media/usb/kitchen-claim.toml
    {"  "}sudo kitchen-agent enrol export /media/usb
    {"  "}sudo kitchen-agent enrol import /media/usb/kitchen-answer-mh07-000123.json

    密钥在本机生成，不会离开本机。重复执行时显示已登记的结果。
help-enrol-export = 无网络时：把登记请求写到 U 盘
help-enrol-export-folder = 文件夹，一般在 U 盘上
help-enrol-export-examples =
    示例：
    {"  "}sudo kitchen-agent enrol export /media/usb

    在平台执行 kitchen-district ca sign 文件。请求中含有登记凭证，不要外传。
help-enrol-import = 无网络时：从 U 盘读取平台的答复
help-enrol-import-file = kitchen-district ca sign 写出的文件
help-enrol-import-examples =
    示例：
    {"  "}sudo kitchen-agent enrol import /media/usb/kitchen-answer-mh07-000123.json
help-option-claim = 登记凭证 [默认：已保存的凭证，否则为启动分区或已挂载 U 盘上的 kitchen-claim.toml]
help-accept = 现场验收测试
help-update = 程序和模型版本
help-bundle = 生成诊断包
help-bundle-out = 写到哪里 [默认：当前目录下的 kitchen-agent-bundle-设备-时间.tar.gz]
help-bundle-examples =
    示例：
    {"  "}sudo kitchen-agent bundle
    {"  "}kitchen-agent bundle --out /tmp/kitchen-12.tar.gz

    会列出包内文件。密码、密钥和登录信息都换成 ***，图片和视频留在本机。
help-log = 查看运行日志（已筛选）
help-log-follow = 持续显示新内容
help-log-since = 起始时间：2h、30min、3d、today、"2026-11-24 08:00"
help-log-level = 只显示不低于此级别的内容
help-log-lines = 最多显示最新的多少行 [默认：200；用 --since 时为全部]
help-log-directory = 读取此目录中的日志，例如另一台设备的存储卡
help-log-examples =
    示例：
    {"  "}kitchen-agent log -f
    {"  "}kitchen-agent log --since 2h --level warn
    {"  "}kitchen-agent log --since 2026-11-24 --json
help-verify = 核验导出的目录：校验值、签名、证据链
help-verify-folder = alerts export 导出的目录
help-verify-key = 受信任的设备公钥：PEM，或 32 字节的 base64
help-verify-ca = 通过目录中的证书为设备密钥担保的机构
help-verify-examples =
    示例：
    {"  "}kitchen-agent verify k7f3qa.17.42 --key evidence-key.pem
    {"  "}kitchen-agent verify k7f3qa.17.42 --ca district-ca.pem --json

    公钥必须来自目录以外：向监管平台索取（kitchen-district key DEVICE），或用安装时记下的。
    退出码 0：已证明；1：有问题；2：内容一致，但密钥无人担保。

use-unknown-command = 没有命令“{ $name }”
use-unknown-option = 此处没有选项或参数“{ $name }”
use-missing = 缺少 { $names }
use-missing-command = 缺少命令
use-no-value = { $name } 后面缺少值
use-wrong-value = { $name } 不能是“{ $value }”，可选：{ $valid }
use-bad-value = “{ $value }”不是 { $name } 的有效值
use-number-of-values = { $name } 的值个数不对
use-twice = { $name } 只能出现一次
use-conflict = { $name } 不能与 { $other } 同时使用
use-wrong = 命令行无法识别
use-suggestion = 是否想输入 { $suggested }？
use-next = 查看 { $command } --help
