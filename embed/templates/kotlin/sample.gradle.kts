// An app that asks the bundle.

plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "demo"
    compileSdk = 36
    defaultConfig {
        applicationId = "autotinybert.demo"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1"
    }
    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
            // Installs without a key of your own.
            signingConfig = signingConfigs.getByName("debug")
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    // A bundle is mapped where it lies in the package.
    androidResources {
        noCompress += "atb"
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":library"))
}
