use super::*;
use crate::ImageConfig;
use base::Arch;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn image(layout: &Layout, layer: &[u8]) -> Descriptor {
    let config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    let config = layout
        .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
        .unwrap();
    let layer = layout.put_blob(media_type::LAYER_TAR_GZIP, layer).unwrap();
    let mut descriptor = layout
        .put_manifest(&Manifest::image(config, vec![layer]))
        .unwrap();
    descriptor.platform = Some(crate::Platform::linux(Arch::X86_64));
    descriptor
}

fn shown(layout: &Layout, error: LayoutError) -> String {
    error
        .to_string()
        .replace(&layout.root().display().to_string(), "DIR")
}

#[test]
fn tags_and_referrers() {
    let folder = folder();
    let layout = Layout::create(folder.path().join("new")).unwrap();
    let first = image(&layout, b"first");
    let second = image(&layout, b"second");
    layout.tag("latest", &first).unwrap();
    layout.tag("latest", &second).unwrap();
    let blob = layout.put_blob(media_type::DSSE, b"{}").unwrap();
    let artifact = Manifest::artifact(media_type::DSSE, vec![blob], &second);
    layout.attach(&artifact).unwrap();
    layout.attach(&artifact).unwrap();

    let layout = Layout::open(layout.root()).unwrap();
    assert_eq!(layout.tags().unwrap(), ["latest"]);
    assert_eq!(layout.resolve(None).unwrap().digest, second.digest);
    let resolved = layout.image(Some("latest"), Arch::X86_64).unwrap();
    assert_eq!(resolved.descriptor.digest, second.digest);
    let referrers = layout.referrers(&second.digest).unwrap();
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].1, artifact);
    assert!(layout.referrers(&first.digest).unwrap().is_empty());

    layout.tag("other", &first).unwrap();
    let error = layout.resolve(None).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"DIR has 2 images; name the tag of one of them: latest, other");
    let error = layout.resolve(Some("lates")).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"DIR has no image tagged `lates`; it has latest, other");
    assert!(matches!(
        layout.tag("../x", &first),
        Err(LayoutError::InvalidTag(_))
    ));
}

#[test]
fn several_architectures() {
    let folder = folder();
    let layout = Layout::create(folder.path()).unwrap();
    let amd = image(&layout, b"amd");
    let mut arm = image(&layout, b"arm");
    arm.platform = Some(crate::Platform::linux(Arch::Aarch64));
    let index = layout
        .put_index(&Index::new(vec![amd, arm.clone()]))
        .unwrap();
    layout.tag("both", &index).unwrap();
    let found = layout.image(None, Arch::Aarch64).unwrap();
    assert_eq!(found.descriptor.digest, arm.digest);
    let error = layout.image(None, Arch::Riscv64).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"the image in DIR is not made for riscv64; it has amd64, arm64");
}

#[test]
fn an_image_is_never_chosen_silently() {
    let folder = folder();
    let layout = Layout::create(folder.path()).unwrap();
    let (first, second) = (image(&layout, b"first"), image(&layout, b"second"));
    let mut arm = image(&layout, b"arm");
    arm.platform = Some(crate::Platform::linux(Arch::Aarch64));
    layout.tag("latest", &first).unwrap();
    let mut manifests = layout.index().unwrap().manifests;

    // Another architecture under the same name or none is apko's way.
    manifests.push(arm.clone());
    layout.write_index(&Index::new(manifests.clone())).unwrap();
    let found = layout.image(None, Arch::X86_64).unwrap();
    assert_eq!(found.descriptor.digest, first.digest);
    // An artefact is no image, not even if it can't be read.
    let blob = layout.put_blob(media_type::DSSE, b"{}").unwrap();
    let artifact = layout
        .attach(&Manifest::artifact(media_type::DSSE, vec![blob], &first))
        .unwrap();
    layout.image(None, Arch::X86_64).unwrap();
    std::fs::remove_file(layout.blob_path(&artifact.digest)).unwrap();
    layout.image(None, Arch::X86_64).unwrap();
    assert!(layout.referrers(&first.digest).is_err());
    assert_eq!(layout.possible_referrers(&first.digest).unwrap().len(), 1);

    // Two of one architecture, or two names, are not.
    manifests.push(second);
    layout.write_index(&Index::new(manifests)).unwrap();
    let error = layout.image(None, Arch::X86_64).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"DIR has 3 images; name the tag of one of them: latest");
    let other = folder.path().join("other");
    let layout = Layout::create(&other).unwrap();
    layout.tag("one", &image(&layout, b"one")).unwrap();
    let mut arm = image(&layout, b"two");
    arm.platform = Some(crate::Platform::linux(Arch::Aarch64));
    layout.tag("two", &arm).unwrap();
    let error = layout.image(None, Arch::X86_64).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"DIR has 2 images; name the tag of one of them: one, two");
}

#[test]
fn damage_is_found() {
    let folder = folder();
    let layout = Layout::create(folder.path()).unwrap();
    let descriptor = image(&layout, b"first");
    layout.tag("latest", &descriptor).unwrap();
    let manifest = layout.manifest(&descriptor).unwrap();
    let layer = &manifest.layers[0];

    std::fs::write(layout.blob_path(&layer.digest), b"fjrst").unwrap();
    let error = layout.open_blob(layer).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"DIR/blobs/sha256/a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e is damaged: it should have 5 bytes of digest sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e, but has 5 of sha256:cedadb8692a0122671eaaeadf057a0e7e7c1d517203bc9cf355f650dbc6b9512; copy the image anew");
    // Writing the blob again mends it.
    layout
        .put_blob(media_type::LAYER_TAR_GZIP, b"first")
        .unwrap();
    layout.open_blob(layer).unwrap();
    std::fs::write(layout.blob_path(&layer.digest), b"first and more").unwrap();
    assert!(matches!(
        layout.read(layer, 100),
        Err(LayoutError::Damaged { found_size: 6, .. })
    ));
    std::fs::remove_file(layout.blob_path(&layer.digest)).unwrap();
    let error = layout.open_blob(layer).unwrap_err();
    assert!(matches!(error, LayoutError::Missing { .. }));

    let mut lying = descriptor.clone();
    lying.size = u64::MAX;
    assert!(matches!(
        layout.manifest(&lying),
        Err(LayoutError::TooLarge { .. })
    ));
}

#[test]
fn other_folders_are_refused() {
    let folder = folder();
    let layout = super::at(folder.path().to_owned());
    let error = Layout::open(folder.path()).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"DIR is not an OCI image layout: it has no file `oci-layout`; polpo makes one by `polpo image build`");
    std::fs::write(
        folder.path().join("oci-layout"),
        b"{\"imageLayoutVersion\":\"2\"}",
    )
    .unwrap();
    let error = Layout::open(folder.path()).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"DIR is not an OCI image layout: its version is 2; only 1.0.0 is known; polpo makes one by `polpo image build`");
    std::fs::remove_file(folder.path().join("oci-layout")).unwrap();
    std::fs::write(folder.path().join("letters.txt"), b"x").unwrap();
    let error = Layout::create(folder.path()).unwrap_err();
    insta::assert_snapshot!(shown(&layout, error), @"DIR is not an OCI image layout: it holds other files; choose an empty folder; polpo makes one by `polpo image build`");
}

#[test]
fn apko_layouts_read_back_byte_for_byte() {
    for name in ["golden", "top_image", "base_image"] {
        let layout = Layout::open(testkit::corpus().join("apko/cli").join(name)).unwrap();
        let mut images = 0;
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let image = layout.image(None, arch).unwrap();
            let raw = layout.read(&image.descriptor, 1 << 20).unwrap();
            assert_eq!(image.manifest.to_bytes().unwrap(), raw);
            let raw = layout.read(&image.manifest.config, 1 << 20).unwrap();
            assert_eq!(image.config.to_bytes().unwrap(), raw);
            for layer in &image.manifest.layers {
                layout.open_blob(layer).unwrap();
            }
            images += 1;
        }
        assert_eq!(images, 2);
    }
}

#[test]
fn copied_files_are_what_they_are_said_to_be() {
    let folder = folder();
    let layout = Layout::create(folder.path().join("layout")).unwrap();
    let from = folder.path().join("file");
    std::fs::write(&from, b"other").unwrap();
    let error = layout
        .put_blob_file(&Descriptor::of(media_type::LAYER_TAR, b"otter"), &from)
        .unwrap_err();
    assert!(matches!(error, LayoutError::Damaged { .. }));
    let right = Descriptor::of(media_type::LAYER_TAR, b"other");
    layout.put_blob_file(&right, &from).unwrap();
    let names: Vec<_> = std::fs::read_dir(layout.root().join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, [right.digest.hex()]);
}
