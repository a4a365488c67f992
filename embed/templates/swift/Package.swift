// swift-tools-version: 5.9

import PackageDescription

let package = Package(
    name: "Autotinybert",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "Autotinybert", targets: ["Autotinybert"])],
    targets: [
        // `scripts/xcframework.sh` builds it.
        .binaryTarget(name: "CAutotinybert", path: "CAutotinybert.xcframework"),
        .target(name: "Autotinybert", dependencies: ["CAutotinybert"]),
        .executableTarget(
            name: "Demo",
            dependencies: ["Autotinybert"],
            resources: [.copy("bundle.atb")]
        ),
    ]
)
