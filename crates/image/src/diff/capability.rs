//! The capabilities of a file, as `getcap` shows them: Linux's `security.capability`
//! (include/uapi/linux/capability.h, `struct vfs_ns_cap_data`).

use std::fmt::Write as _;

/// The extended attribute.
pub(super) const ATTRIBUTE: &str = "security.capability";

/// By their numbers.
const NAMES: [&str; 41] = [
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
];

/// The value in words, such as `cap_net_raw=ep`; what can't be understood is given in hexadecimal.
pub(super) fn words(value: &[u8]) -> String {
    decode(value).unwrap_or_else(|| {
        let mut text = String::from("unknown:");
        for byte in value.iter().take(64) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    })
}

fn decode(value: &[u8]) -> Option<String> {
    let word = |at: usize| {
        let bytes = value.get(4 * at..4 * at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let head = word(0)?;
    let (words, root) = match (head >> 24, value.len()) {
        (1, 12) => (1, None),
        (2, 20) => (2, None),
        (3, 24) => (2, Some(word(5)?)),
        _ => return None,
    };
    let effective = head & 1 != 0;
    let (mut permitted, mut inheritable) = (0_u64, 0_u64);
    for place in 0..words {
        permitted |= u64::from(word(1 + 2 * place)?) << (32 * place);
        inheritable |= u64::from(word(2 + 2 * place)?) << (32 * place);
    }
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for number in 0..64 {
        let has = |set: u64| set >> number & 1 != 0;
        if !has(permitted | inheritable) {
            continue;
        }
        let mut flags = String::new();
        for (letter, set) in [
            ('e', effective),
            ('i', has(inheritable)),
            ('p', has(permitted)),
        ] {
            if set {
                flags.push(letter);
            }
        }
        let name = match NAMES.get(number) {
            Some(name) => (*name).to_owned(),
            None => number.to_string(),
        };
        match groups.iter_mut().find(|(known, _)| *known == flags) {
            Some((_, names)) => names.push(name),
            None => groups.push((flags, vec![name])),
        }
    }
    let mut text: Vec<String> = groups
        .into_iter()
        .map(|(flags, names)| format!("{}={flags}", names.join(",")))
        .collect();
    if text.is_empty() {
        text.push("=".to_owned());
    }
    if let Some(root) = root.filter(|root| *root != 0) {
        text.push(format!("[rootid={root}]"));
    }
    Some(text.join(" "))
}

#[cfg(test)]
mod tests {
    use super::words;

    fn value(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn capabilities_are_shown_as_getcap_does() {
        // What `setcap` writes for these words.
        let shown = [
            words(&value(&[0x0200_0001, 1 << 13, 0, 0, 0])),
            words(&value(&[0x0200_0001, 1 << 12 | 1 << 10, 0, 1 << 7, 0])),
            words(&value(&[0x0200_0000, 1 << 13, 1 << 13 | 1, 0, 0])),
            words(&value(&[0x0300_0001, 1 << 13, 0, 0, 0, 1000])),
            words(&value(&[0x0200_0001, 0, 0, 1 << 20, 0])),
            words(&value(&[0x0100_0000, 1, 0])),
            words(&value(&[0x0200_0001, 0, 0, 0, 0])),
            words(&value(&[0x0200_0001, 1])),
            words(b"x"),
        ];
        insta::assert_snapshot!(shown.join("\n"), @"
        cap_net_raw=ep
        cap_net_bind_service,cap_net_admin,cap_bpf=ep
        cap_chown=i cap_net_raw=ip
        cap_net_raw=ep [rootid=1000]
        52=ep
        cap_chown=p
        =
        unknown:0100000201000000
        unknown:78
        ");
    }
}
