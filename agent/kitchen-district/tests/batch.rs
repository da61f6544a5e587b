//! A batch as an outsider sees it: the program's exit codes and texts, the files, and the sheets as a printer and a
//! phone see them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "batch/sheets.rs"]
mod sheets;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use base64::Engine as _;
use kitchen_core::enrolment::{AuthorityKey, Claim, Manifest};
use kitchen_core::evidence::PublicKey;
use serde_json::Value;

const HEADER: &str = "label,town,restaurant,licence,camera,serial\n";
const ROW: &str = "mh07-000123,青山镇,老王火锅,JY13301000001,灶台,\n";

/// An authority, and a folder for lists and batches.
struct Office {
    folder: tempfile::TempDir,
}

impl Office {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        fs::create_dir(folder.path().join("work")).unwrap();
        let mut init = Command::new(env!("CARGO_BIN_EXE_kitchen-district"));
        init.args(["ca", "init", "--url", "https://ca.example:8443", "--broker", "mqtts://broker.example", "--store"]);
        assert!(init.arg(store).output().unwrap().status.success());
        Self { folder }
    }

    /// Where batches are made, and nothing else is.
    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn command(&self, sites: impl AsRef<[u8]>, out: &str, more: &[&str]) -> Command {
        let list = self.folder.path().join("sites.csv");
        fs::write(&list, sites).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kitchen-district"));
        command.arg("batch").arg(list).arg("--store").arg(self.folder.path().join("store"));
        command.arg("--out").arg(self.work().join(out)).args(more);
        command
    }

    fn run(&self, sites: impl AsRef<[u8]>, out: &str, more: &[&str]) -> Output {
        self.command(sites, out, more).output().unwrap()
    }

    /// The folder of a batch that is made without complaint.
    fn made(&self, sites: impl AsRef<[u8]>, out: &str, more: &[&str]) -> PathBuf {
        let output = self.run(sites, out, more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        self.work().join(out)
    }

    /// What stands on stderr when it is not made; nothing is left.
    fn refused(&self, sites: impl AsRef<[u8]>, more: &[&str], code: i32) -> String {
        let output = self.run(sites, "refused", more);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert_eq!(names(&self.work()), [""; 0], "nothing is made");
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn manifest(folder: &Path) -> Manifest {
    let text = fs::read_to_string(folder.join("manifest.json")).unwrap();
    Manifest::parse(&text, &key(folder)).unwrap()
}

/// The authority's, whose folder lies beside the batches'.
fn key(batch: &Path) -> PublicKey {
    let text = fs::read_to_string(batch.join("../../store/authority.key")).unwrap();
    let seed = base64::engine::general_purpose::STANDARD.decode(text.trim()).unwrap();
    AuthorityKey::from_seed(seed.try_into().unwrap()).public()
}

/// The claims fit the manifest, one a box, none too many.
fn assert_claims_fit(folder: &Path) {
    let manifest = manifest(folder);
    let (mut ids, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for entry in &manifest.boxes {
        let path = folder.join("claims").join(&entry.device).join("kitchen-claim.toml");
        let claim = Claim::parse(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!((&claim.device, &claim.claim_id, &claim.batch), (&entry.device, &entry.claim_id, &manifest.batch));
        assert_eq!((claim.secret_sha256(), claim.expires), (entry.secret_sha256.clone(), manifest.expires));
        assert_eq!((&claim.serial, &claim.camera, &claim.site), (&entry.serial, &entry.camera, &entry.site));
        assert!(claim.is_signed_by(&key(folder)));
        ids.insert(claim.claim_id.clone());
        secrets.insert(claim.secret_sha256());
    }
    assert_eq!((ids.len(), secrets.len()), (manifest.boxes.len(), manifest.boxes.len()), "no two are the same");
    assert_eq!(names(&folder.join("claims")).len(), manifest.boxes.len());
}

fn sites(boxes: usize) -> String {
    let restaurants = [
        "老王火锅",
        "青山镇中心幼儿园食堂",
        "兰州拉面（人民路店）",
        "德清县武康街道阳光学校第二食堂及营养配餐中心有限责任公司",
    ];
    let mut list = HEADER.to_owned();
    for number in 0..boxes {
        let restaurant = restaurants[number % restaurants.len()];
        let serial = if number % 2 == 0 { format!("board-{number}") } else { String::new() };
        writeln!(list, "mh07-{number:06},青山镇,{restaurant},JY1330{number:07},灶台,{serial}").unwrap();
    }
    list
}

#[test]
fn each_sticker_has_its_box_in_its_qr_code_and_in_its_text() {
    let office = Office::new();
    let longest = format!("{}-{}", "a".repeat(24), "w".repeat(23));
    let name = "餐".repeat(64);
    let list = format!("{}{longest},{name},{name},JY1,{name},\nabc,镇,W,JY2,M,\n", sites(25));
    let folder = office.made(&list, "out", &["--batch", "b1"]);
    let manifest = manifest(&folder);
    let sheets = sheets::rendered(&folder.join("labels.pdf"));
    assert_eq!(sheets.len(), 2);
    let found: Vec<Vec<String>> = sheets.iter().flat_map(sheets::codes_by_sticker).take(27).collect();
    let expected: Vec<Vec<String>> =
        manifest.boxes.iter().map(|entry| vec![format!("kitchen:{}:{}", entry.device, entry.claim_id)]).collect();
    assert_eq!(found, expected, "by place");
    let cut: Vec<bool> = sheets.iter().flat_map(sheets::edges_are_blank).collect();
    assert_eq!(cut, [true; 48], "nothing is printed where stickers are cut, nor where printers can't");
    let text = sheets::text(&folder.join("labels.pdf"));
    for said in ["mh07-000017", "老王火锅", "青山镇", "摄像头 灶台", "批次 b1 第 2 / 2 页", "餐餐餐…"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    let secret = fs::read_to_string(folder.join("claims/abc/kitchen-claim.toml")).unwrap();
    let secret = secret.lines().find_map(|line| line.strip_prefix("secret = ")).unwrap().trim_matches('"').to_owned();
    for file in ["manifest.json", "import.csv", "README.txt"] {
        assert!(!fs::read_to_string(folder.join(file)).unwrap().contains(&secret), "{file}");
    }
}

#[test]
fn a_thousand_boxes_are_made_at_once() {
    let office = Office::new();
    let began = Instant::now();
    let output = office.run(sites(1000), "out", &["--json"]);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["v"], &said["boxes"], &said["sheets"]), (&1.into(), &1000.into(), &42.into()));
    let folder = office.work().join("out");
    assert_eq!(manifest(&folder).expires.to_string(), said["expires"].as_str().unwrap());
    assert_claims_fit(&folder);
    let sheets = sheets::rendered(&folder.join("labels.pdf"));
    let found: BTreeSet<String> = sheets.iter().flat_map(sheets::codes_by_sticker).flatten().collect();
    let boxes = manifest(&folder).boxes;
    let expected = boxes.iter().map(|entry| format!("kitchen:{}:{}", entry.device, entry.claim_id)).collect();
    assert_eq!(found, expected);
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let office = Office::new();
    let folder = office.made(sites(2), "out", &[]);
    let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(names(&folder), ["README.txt", "claims", "import.csv", "labels.pdf", "manifest.json"]);
    assert_eq!((mode("claims"), mode("claims/mh07-000001")), (0o700, 0o700));
    assert_eq!(mode("claims/mh07-000001/kitchen-claim.toml"), 0o600);
}

#[test]
fn every_mistake_is_listed_with_its_line() {
    let list = "\u{feff}序列号,label,乡镇,店名,许可证号,摄像头\r\n\
        S-1,mh07-1,青山镇,老王火锅,JY-1,灶台\r\n\
        ,mh07-2,\"青山\r\n镇\",\"Wang, \"\"2\"\"\",JY-2,灶台\r\n\
        \r\n\
        ,,,,,\r\n\
        ,MH07-1,青山镇,沙县小吃,JY-3,灶台\r\n\
        ,mh07_4,青山镇,沙县小吃,JY-4,灶台\r\n\
        ,ＭＨ07-5,青山镇,沙县小吃,JY－5,灶台\r\n\
        ,,,,,灶台\r\n\
        S 1,mh07-7,青山镇,沙县小吃,JY/7,灶台\r\n\
        S-1,mh07-8,青山镇,沙县小吃,jy-1,灶台\r\n\
        ,mh07-9,青山镇,沙县小吃,JY-9,灶台,多余\r\n\
        ,mh07-10,青山镇\r\n\
        ,mh07-11,青山镇,\"沙县\r\n\r\n小吃\",JY-11,灶台\r\n\
        ,mh07-12,青山镇,沙县小吃,JY-12,LONG\r\n\
        ,mh07-13,青山镇,沙\u{200b}县,JY-13,灶台\r\n\
        ,mh07-14,青山镇,沙县\u{10fffd}\u{1f35c},JY-14,灶台\r\n"
        .replace("LONG", &"灶".repeat(65));
    let expected = [
        (3, "town", "one line without control characters"),
        (7, "label", "line 2 has it too"),
        (8, "label", "3 to 48 of a-z, 0-9 and -"),
        (9, "label", "half-width characters (半角): MH07-5"),
        (9, "licence", "half-width characters (半角): JY-5"),
        (10, "label", "3 to 48"),
        (10, "town", "a text"),
        (10, "restaurant", "a text"),
        (10, "licence", "a text"),
        (11, "licence", "only letters, digits and -"),
        (11, "serial", "1 to 64 of letters"),
        (12, "serial", "line 2 has it too"),
        (12, "camera", "line 2 has it too"),
        (13, "cell 7", "nothing beyond"),
        (14, "restaurant", "a text"),
        (14, "licence", "a text"),
        (14, "camera", "a text"),
        (15, "restaurant", "one line"),
        (18, "camera", "at most 64 characters, there are 65"),
        (19, "restaurant", "one line without control characters"),
        (20, "restaurant", "U+10FFFD"),
    ];
    let office = Office::new();
    let output = office.run(&list, "out", &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(names(&office.work()), [""; 0]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = said["problems"].as_array().unwrap();
    let found: Vec<_> =
        problems.iter().map(|one| (one["line"].as_u64().unwrap(), one["column"].as_str().unwrap())).collect();
    assert_eq!(found, expected.map(|(line, column, _)| (line, column)));
    for (problem, (line, column, words)) in problems.iter().zip(expected) {
        assert!(problem["expected"].as_str().unwrap().contains(words), "line {line}, {column}: {problem}");
    }
    assert_eq!(problems[1]["other_line"], 2);
    let lines = office.refused(&list, &[], 1);
    for (line, column, words) in expected {
        let said =
            lines.lines().any(|said| said.starts_with(&format!("line {line}, {column}: ")) && said.contains(words));
        assert!(said, "line {line}, {column}: {lines}");
    }
    assert!(lines.contains("21 problems found, nothing was made"), "{lines}");
}

#[test]
fn a_header_that_is_not_understood_is_named() {
    let office = Office::new();
    for (list, said) in [
        ("label,town,restaurant,licence,camera,colour\na,b,c,d,e,f\n", "\"colour\""),
        ("label,town,restaurant,licence,标签,camera\na,b,c,d,e,f\n", "each column once"),
        ("label,town,restaurant,camera\na,b,c,d\n", "a column licence or 许可证号"),
        ("mh07-000123,青山镇,老王火锅,JY13301000001,灶台\nx,y,z,1,2\n", "\"mh07-000123\""),
        ("label，town\nmh07\n", "\"label，town\""),
        ("", "no rows"),
        (HEADER, "no rows"),
        ("\r\n\r\n", "no rows"),
        ("label,town,restaurant,licence,camera\nabc,\"b,c,d,e\n", "quotation mark in the row of line 2"),
    ] {
        let lines = office.refused(list, &[], 1);
        assert!(lines.contains(said), "{list:?}: {lines}");
    }
}

#[test]
fn chinese_excels_own_encoding_is_refused_with_the_way_out() {
    // 设备编号,乡镇 and one row in GBK.
    let gbk = b"\xc9\xe8\xb1\xb8\xb1\xe0\xba\xc5,\xcf\xe7\xd5\xf2\r\nmh07-1,\xc7\xe0\xc9\xbd\r\n";
    let office = Office::new();
    let lines = office.refused(gbk, &[], 1);
    assert!(lines.contains("CSV UTF-8") && lines.contains("另存为") && lines.contains("line 1"), "{lines}");
    let in_a_name = [HEADER.as_bytes(), b"mh07-1,\xc7\xe0\xc9\xbd,x,JY1,z,\n"].concat();
    assert!(office.refused(in_a_name, &[], 1).contains("line 2"));
}

#[test]
fn encoding_mark_line_ends_separator_and_order_of_columns_do_not_matter() {
    let office = Office::new();
    let plain = "label,town,restaurant,licence,camera,serial\nMH07-1 ,青山镇,\"王, 二\",JY-1, 灶台,S1\nmh07-2,镇,店,JY-2,灶台,\n";
    let excel = plain.replace('\n', "\r\n");
    let other = "摄像头;序列号;设备编号;许可证号;餐饮单位;乡镇;\r\n灶台;S1;mh07-1;JY-1;\"王, 二\";青山镇;\r\n\r\n灶台;;mh07-2;JY-2;店;镇;\r\n";
    let same = [plain.to_owned(), format!("\u{feff}{plain}"), excel, other.to_owned(), other.replace(';', "\t")];
    let read = |(number, list): (usize, &String)| {
        let folder = office.made(list, &format!("out-{number}"), &[]);
        let boxes = manifest(&folder).boxes;
        boxes.into_iter().map(|entry| (entry.device, entry.serial, entry.camera, entry.site)).collect::<Vec<_>>()
    };
    let mut all = same.iter().enumerate().map(read);
    let first = all.next().unwrap();
    assert_eq!((first[0].0.as_str(), first[0].3.name.as_str()), ("mh07-1", "王, 二"));
    all.for_each(|boxes| assert_eq!(boxes, first));
}

#[test]
fn the_platforms_table_opens_in_excel_and_runs_no_formula() {
    let office = Office::new();
    let list = format!("{HEADER}mh07-1,+镇,=1+1,JY-1,@灶台,\nmh07-2,镇,\"王, \"\"二\"\"\",-2,灶台,S1\n");
    let folder = office.made(list, "out", &["--batch", "b1"]);
    let table = fs::read_to_string(folder.join("import.csv")).unwrap();
    let manifest = manifest(&folder);
    let (expires, boxes) = (manifest.expires, manifest.boxes);
    let expected = format!(
        "\u{feff}设备编号,乡镇,餐饮单位,许可证号,摄像头,序列号,凭证编号,有效期至\r\n\
         mh07-1,'+镇,'=1+1,JY-1,'@灶台,,{},{expires}\r\n\
         mh07-2,镇,\"王, \"\"二\"\"\",'-2,灶台,S1,{},{expires}\r\n",
        boxes[0].claim_id, boxes[1].claim_id
    );
    assert_eq!(table, expected);
    assert_eq!(boxes[0].site.name, "=1+1", "the claim has it as it was written");
    let readme = fs::read_to_string(folder.join("README.txt")).unwrap();
    for said in ["kitchen-district ca import manifest.json --store DIR", "批次 b1", "labels.pdf", "import.csv"] {
        assert!(readme.contains(said), "{said}");
    }
}

#[test]
fn what_can_not_be_made_leaves_nothing_and_exits_with_2() {
    let office = Office::new();
    let list = format!("{HEADER}{ROW}");
    let nowhere = office.refused(&list, &["--font", "/nowhere.ttf"], 2);
    assert!(nowhere.contains("/nowhere.ttf") && nowhere.contains("apt install fonts-noto-cjk"), "{nowhere}");
    let no_font = office.refused(&list, &["--font", env!("CARGO_MANIFEST_PATH")], 2);
    assert!(no_font.contains("is not a font"), "{no_font}");

    let output = office.run(&list, "missing/out", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("check that the folder above is there"), "{}", text(&output.stderr));
    assert_eq!(names(&office.work()), [""; 0]);

    let folder = office.made(&list, "out", &[]);
    let before = fs::read(folder.join("manifest.json")).unwrap();
    let output = office.run(&list, "out", &["--json"]);
    assert_eq!(output.status.code(), Some(2), "a batch is never written over");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["error"].as_str().unwrap().contains("not an empty folder"), "{said}");
    assert_eq!(fs::read(folder.join("manifest.json")).unwrap(), before);
    assert_eq!(names(&office.work()), ["out"]);
    fs::create_dir(office.work().join("empty")).unwrap();
    assert_claims_fit(&office.made(&list, "empty", &[]));
}

#[test]
fn wrong_use_exits_with_64_and_help_has_an_example() {
    let office = Office::new();
    for more in [&["--expires", "soon"][..], &["--batch", "B 1"], &["--colour"]] {
        office.refused(ROW, more, 64);
    }
    let help = Command::new(env!("CARGO_BIN_EXE_kitchen-district")).args(["batch", "--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("kitchen-district batch sites.csv --store"), "{}", text(&help.stdout));
}

#[test]
fn a_killed_run_leaves_all_or_nothing_and_the_next_one_tidies_up() {
    let office = Office::new();
    let list = sites(400);
    let began = Instant::now();
    fs::remove_dir_all(office.made(&list, "out", &[])).unwrap();
    let whole = began.elapsed();
    let out = office.work().join("out");
    let mut unfinished = 0;
    for part in 1..=24 {
        let mut child = office.command(&list, "out", &[]).stdout(std::process::Stdio::null()).spawn().unwrap();
        // The moment is what this test is about: it is spread over the whole run.
        std::thread::sleep(whole * part / 24);
        let _ = child.kill();
        child.wait().unwrap();
        if out.exists() {
            assert_eq!(manifest(&out).boxes.len(), 400);
            assert_claims_fit(&out);
            assert_eq!(names(&office.work()), ["out"]);
            fs::remove_dir_all(&out).unwrap();
        } else {
            unfinished += names(&office.work()).len();
        }
    }
    assert!(unfinished > 3, "some were killed in the midst of it, not {unfinished}");
    assert_claims_fit(&office.made(&list, "out", &[]));
    assert_eq!(names(&office.work()), ["out"], "what was left is gone");
}

#[test]
fn two_runs_do_not_make_the_same_folder() {
    let office = Office::new();
    let mut command = office.command(sites(300), "out", &[]);
    let mut runs: Vec<_> = (0..3)
        .map(|_| command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    let codes: Vec<_> = runs.iter_mut().map(|run| run.wait().unwrap().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_claims_fit(&office.work().join("out"));
    assert_eq!(names(&office.work()), ["out"]);
}
