// The library of an app: Kotlin sources, and libautotinybert_jni.so for every ABI.

plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android")
}

// The sources of autotinybert, which the shared libraries are built from.
val source = providers.gradleProperty("autotinybert.source").orElse("@source@")

android {
    namespace = "autotinybert"
    compileSdk = 36
    defaultConfig {
        minSdk = 24
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

kotlin {
    explicitApi()
    jvmToolchain(17)
}

dependencies {
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.10.2")
}

// `./gradlew :library:cargoNdk` builds the shared libraries with cargo-ndk and the NDK.
tasks.register<Exec>("cargoNdk") {
    val libraries = layout.projectDirectory.dir("src/main/jniLibs").asFile.path
    workingDir(source)
    commandLine(
        "cargo", "ndk",
        "--target", "arm64-v8a", "--target", "armeabi-v7a", "--target", "x86_64",
        "--platform", "24",
        "--output-dir", libraries,
        "rustc", "--package", "atb-kotlin", "--profile", "app", "--crate-type", "cdylib",
    )
}
