//! The programs inside a busybox that no list comes with: their names stand in the program itself,
//! and each has its usual folder.

/// The names begin with these two.
const START: &[u8] = b"[\0[[\0";
const COUNT_LIMIT: usize = 1000;

const BIN: &str = "arch ash base32 base64 bash bbconfig cat chattr chgrp chmod chown conspy cp cpio \
    cttyhack date dd df dmesg dnsdomainname dumpkmap echo ed egrep false fatattr fdflush fgrep fsync \
    getopt grep gunzip gzip hostname hush ionice iostat ipcalc kbd_mode kill link linux32 linux64 ln \
    login ls lsattr lzop makemime minips mkdir mknod mktemp more mount mountpoint mpstat mt mv netstat \
    nice nuke pidof ping ping6 pipe_progress printenv ps pwd reformime resume rev rm rmdir rpm \
    run-parts scriptreplay sed setarch setpriv setserial sh sleep stat stty su sync tar touch true \
    umount uname uncompress usleep vi watch zcat";

const SBIN: &str = "acpid adjtimex arp blkid blockdev bootchartd depmod devfsd devmem fbsplash fdisk \
    findfs freeramdisk fsck fsck.minix fstrim getty halt hdparm hwclock ifconfig ifdown ifenslave ifup \
    init inotifyd insmod ip ipaddr iplink ipneigh iproute iprule iptunnel klogd loadkmap logread \
    losetup lsmod makedevs mdev mkdosfs mke2fs mkfs.ext2 mkfs.minix mkfs.reiser mkfs.vfat mkswap \
    modinfo modprobe nameif pivot_root poweroff raidautorun reboot restorecon rmmod route run-init \
    runlevel setconsole setfiles slattach start-stop-daemon sulogin swapoff swapon switch_root sysctl \
    syslogd tc tunctl tune2fs udhcpc uevent vconfig watchdog zcip";

const USR_SBIN: &str = "add-shell addgroup adduser arping brctl chat chpasswd chroot crond delgroup \
    deluser dhcprelay dnsd ether-wake fakeidentd fbset fdformat flash_eraseall flash_lock flash_unlock \
    flashcp fsfreeze ftpd getenforce getsebool httpd i2cdetect i2cdump i2cget i2cset i2ctransfer \
    ifplugd inetd killall5 load_policy loadfont lpd matchpathcon mim nanddump nandwrite nbd-client \
    nologin ntpd partprobe popmaildir powertop rdate rdev readahead readprofile remove-shell rfkill \
    rtcwake seedrng selinuxenabled sendmail sestatus setenforce setfont setlogcons setsebool svlogd \
    telnetd tftpd ubiattach ubidetach ubimkvol ubirename ubirmvol ubirsvol ubiupdatevol udhcpd";

/// The paths by which the programs in a busybox are called, sorted; none if it doesn't say.
pub(crate) fn links(program: &[u8]) -> Vec<String> {
    let mut links: Vec<String> = names(program)
        .map(|name| {
            let is_in = |list: &str| list.split_ascii_whitespace().any(|other| other == name);
            let folder = match name {
                "linuxrc" => "",
                _ if is_in(BIN) => "/bin",
                _ if is_in(SBIN) => "/sbin",
                _ if is_in(USR_SBIN) => "/usr/sbin",
                _ => "/usr/bin",
            };
            format!("{folder}/{name}")
        })
        .collect();
    links.sort();
    links
}

/// Sorted, each ended by a zero byte.
fn names(program: &[u8]) -> impl Iterator<Item = &str> {
    let start = program
        .windows(START.len())
        .position(|window| window == START)
        .unwrap_or(program.len());
    let mut last = "";
    program
        .get(start..)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .map_while(move |name| {
            let name = std::str::from_utf8(name).ok()?;
            let fits = !name.is_empty()
                && name.len() < 32
                && name > last
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"[_.-".contains(&byte));
            last = name;
            fits.then_some(name)
        })
        .take(COUNT_LIMIT)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_real_busybox_is_listed_as_it_lists_itself() {
        let program = std::fs::read("/bin/busybox").unwrap();
        let output = Command::new("/bin/busybox")
            .arg("--list-full")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut own: Vec<String> = text
            .lines()
            .map(|line| format!("/{line}"))
            // Debian's moved it.
            .map(|line| {
                if line == "/bin/readlink" {
                    "/usr/bin/readlink".to_owned()
                } else {
                    line
                }
            })
            .collect();
        own.sort();
        let found = links(&program);
        // busybox leaves itself out of neither list.
        let without = |list: Vec<String>| -> Vec<String> {
            list.into_iter()
                .filter(|link| link != "/bin/busybox" && link != "/usr/bin/busybox")
                .collect()
        };
        assert_eq!(without(found), without(own));
    }

    #[test]
    fn other_programs_have_none() {
        assert!(links(b"").is_empty());
        assert!(links(b"[\0").is_empty());
        assert_eq!(
            links(b"x\0[\0[[\0cat\0ls\0\x01\0zz\0"),
            ["/bin/cat", "/bin/ls", "/usr/bin/[", "/usr/bin/[["]
        );
    }
}
