//! What goes along with claims and stickers: the table for the district's platform, and what each file is, for people.

use kitchen_core::enrolment::{CLAIM_FILE, Manifest, ManifestEntry};

/// Excel takes a file without it for GBK.
const BYTE_ORDER_MARK: &str = "\u{feff}";
const TITLES: [&str; 8] = ["设备编号", "乡镇", "餐饮单位", "许可证号", "摄像头", "序列号", "凭证编号", "有效期至"];

/// `import.csv`: UTF-8 with byte order mark, CR LF.
pub(super) fn import_table(manifest: &Manifest) -> Vec<u8> {
    let expires = manifest.expires.to_string();
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(BYTE_ORDER_MARK.as_bytes().to_vec());
    writer.write_record(TITLES).expect("memory takes all");
    for entry in &manifest.boxes {
        let ManifestEntry { device, claim_id, serial, camera, site, .. } = entry;
        let serial = serial.as_deref().unwrap_or_default();
        let cells = [device, &site.town, &site.name, &site.licence, camera, serial, claim_id, &expires];
        writer.write_record(cells.map(defused)).expect("memory takes all, and each row has as many cells");
    }
    writer.into_inner().expect("memory takes all")
}

/// A cell that a spreadsheet would run as a formula gets an apostrophe in front, which makes it a text.
fn defused(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    if is_formula { format!("'{cell}") } else { cell.to_owned() }
}

/// `README.txt`: CR LF, and a byte order mark for old editors.
pub(super) fn readme(manifest: &Manifest, sheets: usize) -> Vec<u8> {
    let Manifest { batch, expires, boxes, .. } = manifest;
    let boxes = boxes.len();
    let text = format!(
        "\
批次 {batch}：{boxes} 台设备，{sheets} 张标签，凭证有效期至 {expires}（UTC）

文件                        内容与保管
manifest.json               批次清单，已签名，不含密钥。交给登记机构导入；不要改动。
claims/标签/{CLAIM_FILE}
                            每台设备一份登记凭证，含密钥。谁拿到谁就能冒充该设备登记：
                            只交给安装该设备的人，不要用聊天软件或邮件发送，装好后删除。
labels.pdf                  标签，A4，3 × 8，每张 70 × 37 毫米，不含密钥。按 100%（实际大小）打印。
import.csv                  给监管平台导入的表格（Excel 可打开），不含密钥。
                            含店名和许可证号，只在工作需要时提供。

下一步
1. 在登记机构的服务器上导入清单：
   kitchen-district ca import manifest.json --store DIR
2. 打印 labels.pdf，贴到标签号相同的设备上。
3. 把 claims/标签/ 里的 {CLAIM_FILE} 复制到该设备的存储卡启动分区或 U 盘根目录。
   一台设备一份，不要混用。
4. 在监管平台导入 import.csv。
5. 全部装好后，删除 claims 文件夹。过期或遗失的凭证：重新制作批次。


Batch {batch}: {boxes} boxes, {sheets} sheets of labels, claims good until {expires} (UTC)

File                        What it is and who may have it
manifest.json               The batch's list, signed, no secrets. For the authority; do not edit it.
claims/LABEL/{CLAIM_FILE}
                            A claim for each box, with a secret. Whoever has it can enrol in the box's place:
                            only for whoever installs that box. Not by chat or mail; delete it afterwards.
labels.pdf                  Stickers, A4, 3 x 8 of 70 x 37 mm, no secrets. Print at 100 % (actual size).
import.csv                  The table for the district's platform (opens in Excel), no secrets.
                            It names restaurants and licences: only for those who need it.

What to do next
1. Import the list where the authority is:
   kitchen-district ca import manifest.json --store DIR
2. Print labels.pdf and stick each label onto the box of that name.
3. Copy {CLAIM_FILE} of claims/LABEL/ onto the boot partition of that box's card, or onto a stick.
   One file for one box; do not mix them up.
4. Import import.csv into the district's platform.
5. Delete the folder claims when all boxes are enrolled. Expired or lost claims: make a new batch.
"
    );
    format!("{BYTE_ORDER_MARK}{}", text.replace('\n', "\r\n")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_looks_like_a_formula_is_a_text() {
        for (cell, expected) in
            [("=1+1", "'=1+1"), ("@x", "'@x"), ("-2", "'-2"), ("+8", "'+8"), ("老=王", "老=王"), ("", "")]
        {
            assert_eq!(defused(cell), expected);
        }
    }
}
