//! Files that apk 3.0.6 made of our own inputs, and the keys that they are signed by.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use key::PublicKey;
use polpo_apk::signature::Keyring;

/// A package with everything that a package can have, signed by all three keys, deflated.
const TOOL: &str = "\
    QURCZHVUDUxTVxS+ry1/FUJhVYggVuk2ROwPIjA2HK04kCEyptMNBPvzoI2Fx9oKHQ5XkRAwiDAkAcYmToYzMMUM\
    RucYMGFCMhhlEycZiQwNoG5B5UcCDnbu64thLnvJ19vznXO+e879k0XKRZmqw2kjHER/nRw0yjFSlM5RKgoUbd2i\
    D7KXCbBtbwoNTgkOYu/etdcO2wYHmeA1RYRyu5vGaMw0hInFJhFpUqRn6kg+4bszraihf2rliMUfvU06G6gwnVap\
    EhkoUTBQLIAaITMnB1g2zAk2LuVD4I4D7BDisZUKNeYqwcYyHphLpShiqy22EfgmgBPmqQzS5y2p7P+/cDqnG+J7\
    AfaQA0A1CI02AyYBRkAhwFGVrg7DvYKfDeARyOyCa83S6o1M7X7AYZ83gUYlADalUxOBtroiwRcNgDgejo0FP6Fg\
    egaeUBJSnJsJ//WMjgZijACOmlIZmDmKbRroDNZncnEOR09RRma9/iIQrwm4JkYHfxask3FEp+MiAZuwcTi2bkWs\
    A9g3YLwLsbjFQwgJcNww1lGTWXjeGayD6CbMWJPPAltFZaQKDpS1tGwcuu2Y7vrwCm9x+Bev5qfvqy4HWfMKPp98\
    Y64dCsFrG8Cy6dsz+lKw7cj0TOMHgjtN3fLKp9786sWZ3irqW+HLl2R31Z+Ux9ZVVHmZEiz76Hwd69/16cFmk0YV\
    7nMv1HKGZauvkamvCWz2EYMe+/sYzhWZgRErtRlihU6rMNjRv4JNpUTBaUun+Ia0K/i69cDsvuKDy4nvzY4vcSyZ\
    9Rd/ukrP/yej4c7M/xhsjk6bcdge1eLjgedefm5NA9jIHMqm63q2prDZtM8R/VdvBODAVIj1+JAbDVDbNPCm0jmF\
    YDvhOINGoSdt5/JLxuf6jBfTq4t9nYyPXy5Up/Be5522yH0HJLNd3pHl5Bbwr2Hqwed6BGLBNq8DCAF+ABEA7qk5\
    GoBr9YSacS/QB28e7kgoaCcBzIAafL6Bh/M1CpqoF0Zv2Is2gBVQCbU3A6wAN98N9GYYNFzSpDUKpNznGQkX9w2L\
    S9/5YzByxbhBeCfE/nabxXAAmHtZC74GDn2X0Qxox8IbVgpoBtgx9SYhFIE4O/dsI1dVl0l2CYNXqceyxZJIliDV\
    dMzd3OUo+lpt2tH540JRuZPnza6eHNOLFbHbZOlzp1gCfU9M0g8NoffPPV79Ve+D+nvZgSVsIRXTMfzq9DXnmIUT\
    WD+X1o+byw3Yf7ksjkj7YrxvcKJPQrIkiTlzVdG3j3fcmg1LuFDyMHmHr/SbqdbAoc0zfR5tZFSDQ8XR+9O/tvFS\
    dfHLIePTlSwpqs7yP/9H8sHinsJyF6mDt6Vee82Yl5L1nVvEgEGm3GQNv1jiMtRh7Y6fLP19ITzRH+Y/R8/vvxy1\
    eun67vSN1fHrue4NHMnxQpacmE0Jrk6Na20Jt55cP7/uhcHEpTFDe9n5K7VFR/urb97jry14IBcLld/LX2ptd5+/\
    4znh8a4p5OxMzZ4BSXbeIcp3niVHjTE+9tv/frNRmR/1KLnvswteXXM/O3868eTkR0uk59oy4pQs5LeI3I9r8uum\
    +v3yOYuDvWM5CbciTryy5sn+d/hXz15i3iR3ZHuf8HOkIXU6imvjfWxvPc2vOAgqDSXQaCHmHw==";

/// A package that holds nothing, was built late and is not signed.
const META: &str = "\
    QURCZHN0cdIrSM5OX8AAAVMYGB6w5KaWJLIY6hYZsOXlJxYlZ4AkPrFqMQIplpL8/BwgzQTEKgwMDSBaB6hHpHp7\
    4v7pppW1PjtfbLrRfstMe8MHbaCcABBzANXxArENEIOMEoLS6ECGgcEAqgUMTIDmgswPAdIA";

/// The index of both, signed by the first key.
const INDEX: &str = "\
    QURCZHWTa0hTYRjH37ObhikTpAwijjiotJ1tXoYOrU1dIWoRRthF9Gw7tdW2s3aGnZyLfRBTMEyUooIoELIksvrQ\
    /NIFu5P0TSz7sMJogZRKInT/v9s+RNALP973PM/zfy7vOcdWV8N5/C7ZqiTJtUVJ4qqQKHozTVwJV6oPluUN6Vxt\
    2m3agVhN4Svj8uT6uiFBr7GxNEgjV5jbzGXKpvo9avosZdjYKt7q2JrrDoUCksVgkDlB5n0Br5DHFNoP941Nffl7\
    R8HFZkHp4F0qHGVCorSHtYRolYdEkSklhNr7YT8DVlG76Bc27DbZ/r+qk5oRxI8CDTSrJdHi9TicnCRyZvgUYAY+\
    VSesSsxJUnUWYFsGamigI12ExIfBM5AAP0Cm0+ey0FHhp1emY0g0m+bq8ARD6dxVsFGfkSHxOqAUvS6mJFWjBb6D\
    AHFaGtsOP8OndDLsjIMxUW03zj3pPF2I6QUql+iU0jUup3KQUZo/raUaNjB9b3Pw+43XT70x9/kdK/nl168+XHfS\
    oG+ujv2cqNB/QuwakElSfT+Cphg72otWgmpQCxpAK8BMbD56nVURbQa9S9RrBAEwDMZp/7DHaH8+IcSrTPqgMS98\
    l79/rvxEpHEicXvm1Btz8fhCscYv8kGnG8WX1EVMeg7aB90DChJnP1fmBOaLDhjCzzfNyzmaB7NfOydz27a/NNrU\
    ptjetw7EaYFVQaJ2AGHye2lL7/8ut4IYqUROyYiMGtk2VvLxXi+Lj16Q9QG8SYMuTPuKYPfzPiGi14U7hKDkEf0R\
    Thd285LbUhHh+MBRes8jyJGgs+I8h7os/pclRfKurERl31UuZF0YNNbrzFmu98cNRruigNy8tvP0nabhRPuHY9zg\
    i4vfYov793X/6rvSemvJkXPkklHB6uas3GNrf29iquf3u7GPwYHpFa6ldmNDx5P+obNKuQC1/gA=";

const KEYS: [(&str, &str); 3] = [
    (
        "p256.pub",
        "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqhf6Er5jxs1iGRUH/9gCkrH6dSij\n\
    9Stlmkdf6cxXoGPEEHIXVaJPa5kfP3R6cZ0SfVy7cYFJg+WJGKN9rGuWpg==\n\
    -----END PUBLIC KEY-----\n",
    ),
    (
        "p384.pub",
        "-----BEGIN PUBLIC KEY-----\n\
    MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEZt8o6qHI1OWr2awBhTuxJQNm5JLqMKry\n\
    lgeW0sma+lwciF2cAVGoyi/GqPbJWBS226ZkQ07WggquKp2FLaYc7hE5xYvw0DJ3\n\
    1sQ6ihuwP0jdwpgMZvtnkDFiNcqFgt61\n\
    -----END PUBLIC KEY-----\n",
    ),
    (
        "p521.pub",
        "-----BEGIN PUBLIC KEY-----\n\
    MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQACG/HN/m+cKsvKIcUd5b2STLBG1JP\n\
    P1O16xMv8Z2O1M0zUM+ITWaC4nnZdW6a0Hs0KFui5kW89z4nEj74rvuyEHEAvHq5\n\
    JIXlizubcxJ7O5rAl9YAvhxLGA/pVjSwPBXFtYJRZhmxiVL/y0nMwGXKxbxXy5bN\n\
    Fwg410uqJKESZ1w9RGU=\n\
    -----END PUBLIC KEY-----\n",
    ),
];

pub(super) fn tool() -> Vec<u8> {
    STANDARD.decode(TOOL).unwrap()
}

pub(super) fn meta() -> Vec<u8> {
    STANDARD.decode(META).unwrap()
}

pub(super) fn index() -> Vec<u8> {
    STANDARD.decode(INDEX).unwrap()
}

/// The keys, each in a keyring of its own.
pub(super) fn keyrings() -> Vec<Keyring> {
    KEYS.iter()
        .map(|(name, pem)| {
            let mut keyring = Keyring::default();
            keyring.add(*name, PublicKey::from_pem(pem).unwrap());
            keyring
        })
        .collect()
}
