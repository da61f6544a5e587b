# `kitchen-agent bundle`。
bundle-unwritable = 无法写入 { $path }（{ $error }）：请换个位置，例如 --out /tmp/bundle.tar.gz
bundle-written = { $path }，{ $kilobytes } KB：请把此文件发给支持人员；已去除密码和密钥，不含图片
