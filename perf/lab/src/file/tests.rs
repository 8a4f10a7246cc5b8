use super::*;

const SMALL: &str = r#"
name = "t"
[[node]]
id = 1
name = "sg1"
role = "sg"
[[node]]
id = 2
name = "sr1"
role = "sr"
[[link]]
a = "sg1"
b = "sr1"
metric = 10
[[pod]]
name = "pod1"
gateway = "sg1"
[[pod.service]]
identity = "pod1/a"
names = ["/shop/a"]
"#;

fn error(from: &str, to: &str) -> String {
    let text = SMALL.replacen(from, to, 1);
    assert_ne!(text, SMALL);
    LabFile::parse(Path::new("lab.toml"), &text)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_small_lab_is_read() {
    let lab = LabFile::parse(Path::new("lab.toml"), SMALL).unwrap();
    assert_eq!(lab.node.len(), 2);
    assert_eq!(*lab.mtu.get_ref(), 9_000);
}

#[test]
fn mistakes_name_line_and_field() {
    assert_eq!(
        error("b = \"sr1\"", "b = \"sr9\""),
        "lab.toml:13: link.b: there is no node called \"sr9\"; declare it or correct the name"
    );
    assert!(error("id = 2", "id = 1").starts_with("lab.toml:8: node.id:"));
    assert!(
        error("gateway = \"sg1\"", "gateway = \"sr1\"").starts_with("lab.toml:17: pod.gateway:")
    );
    assert!(error("/shop/a", "/shop//a").starts_with("lab.toml:20: pod.service.names:"));
    assert!(
        error(
            "[[pod]]",
            "[[authority]]\nname = \"a\"\nsubtrees = [\"/\"]\n[[pod]]"
        )
        .starts_with("lab.toml:17: authority.subtrees:")
    );
    let edge = |text: &str| error("[[pod]]", &format!("{text}\n[[pod]]"));
    assert!(edge("[[edge]]\nnode = \"sr1\"").starts_with("lab.toml:16: edge.node:"));
    let pod = "[[edge]]\nnode = \"sg1\"\n[[edge.pod]]\nidentity = \"pod1/x\"\npod = \"pod1\"";
    assert!(
        edge(&format!(
            "{pod}\nredirect = [{{ address = \"10.0.0.1\", name = \"/a\" }}]"
        ))
        .starts_with("lab.toml:20: edge.pod.redirect.address:")
    );
    assert!(
        edge(&format!("{pod}\nserve = [{{ prefix = \"/a\", port = 0 }}]"))
            .starts_with("lab.toml:20: edge.pod.serve.port:")
    );
    assert!(error("metric = 10", "metric = \"x\"").contains("line 14"));
    assert!(error("metric = 10", "metrik = 10").contains("metrik"));
    assert!(error("name = \"t\"", "name = \"Too long\"").starts_with("lab.toml:2: name:"));
}
